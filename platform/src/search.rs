//! Words anywhere in a name are found by their trigrams. Projector and query API cut texts up the same way, into numbers
//! that an ordinary index over arrays holds, so that PostgreSQL needs no extension.

use std::collections::BTreeSet;

/// A number for each three letters in a row within each of a text's words, ascending; different ones may share a number, so
/// what is found must be looked at. The text is lower-cased already. None for words shorter than that.
pub fn grams(text: &str) -> Vec<i32> {
    let mut grams = BTreeSet::new();
    for word in text.split_whitespace() {
        let letters: Vec<u32> = word.chars().map(u32::from).collect();
        for three in letters.windows(3) {
            // FNV-1a over the letters.
            let hash = three.iter().fold(0x811c_9dc5_u32, |hash, letter| (hash ^ letter).wrapping_mul(0x0100_0193));
            grams.insert(hash.cast_signed());
        }
    }
    grams.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::grams;

    #[test]
    fn a_part_of_a_word_has_grams_of_the_word() {
        let whole = grams("maría-josé ñandú 10042");
        for part in ["mar", "ía-j", "-josé", "ñandú", "004", "10042"] {
            assert!(!grams(part).is_empty() && grams(part).iter().all(|gram| whole.contains(gram)), "{part}");
        }
        assert!(grams("ab c de").is_empty() && grams("").is_empty());
        assert!(grams("joséñ").iter().any(|gram| !whole.contains(gram)), "never over the end of a word");
        // These stand in read models: another way to count them is another version of theirs.
        assert_eq!(grams("abcd"), [440_920_331, 1_958_475_554]);
    }
}
