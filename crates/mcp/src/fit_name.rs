//! Names of tools and properties made to fit the characters and the length that Bedrock accepts.
//!
//! Called for tool names by `agent` and for property names by [`crate::schema`]. Keeps no table of the changed names:
//! the callers do.

/// Length of the digest in hexadecimal digits: 40 bits.
const DIGEST_DIGITS: usize = 10;

/// Returns `original` if it has 1 to `limit` bytes and `fits` accepts all its characters. Otherwise returns a readable
/// form of it that ends in a digest of `original`, so that different names stay different. The same name gives the same
/// result in every build.
pub fn fit_name(original: &str, limit: usize, fits: impl Fn(char) -> bool) -> String {
    if (1..=limit).contains(&original.len()) && original.chars().all(&fits) {
        return original.to_owned();
    }
    let readable = original.chars().map(|c| if fits(c) { c } else { '_' });
    let readable: String = readable.take(limit - 1 - DIGEST_DIGITS).collect();
    let digest = fnv1a(original.as_bytes()) & ((1 << (4 * DIGEST_DIGITS)) - 1);
    format!("{readable}-{digest:0width$x}", width = DIGEST_DIGITS)
}

/// FNV-1a, 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>): stable across builds, unlike the
/// standard library's hasher.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_stay_and_others_end_in_a_digest() {
        let fit = |name: &str| fit_name(name, 64, |c| c.is_ascii_alphanumeric() || c == '_');
        assert_eq!(fit("get_weather"), "get_weather");
        assert_eq!(fit("files.read"), "files_read-1fd0376a62");
        assert_eq!(fit(&"x".repeat(64)), "x".repeat(64));
        for odd in ["", "ü", "a/b", &"y".repeat(300), "日本語"] {
            assert!((1..=64).contains(&fit(odd).len()), "{odd}");
        }
        assert_ne!(fit("a.b"), fit("a/b"));
    }
}
