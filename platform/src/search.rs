//! Words anywhere in a name are found by their trigrams. Projector and query API cut texts up the same way, into numbers
//! that an ordinary index over arrays holds, so that PostgreSQL needs no extension.

use std::collections::BTreeSet;

use unicode_normalization::{UnicodeNormalization as _, char::canonical_combining_class};

/// A text as searches compare it: without case, accents, and what joins letters unseen, in one composition. Letters that people type
/// as others where their keyboard lacks them stand as those, such as `ł` as `l` and `ß` as `ss`.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut folded = String::with_capacity(text.len());
    for c in text.nfkd() {
        match c {
            'ß' | 'ẞ' => folded.push_str("ss"),
            'æ' | 'Æ' => folded.push_str("ae"),
            'œ' | 'Œ' => folded.push_str("oe"),
            'þ' | 'Þ' => folded.push_str("th"),
            'ø' | 'Ø' => folded.push('o'),
            'ł' | 'Ł' => folded.push('l'),
            'đ' | 'Đ' | 'ð' | 'Ð' => folded.push('d'),
            'ħ' | 'Ħ' => folded.push('h'),
            'ŧ' | 'Ŧ' => folded.push('t'),
            'ı' => folded.push('i'),
            // At the end of a word the same letter has another form.
            'ς' => folded.push('σ'),
            '\u{ad}' | '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => {}
            mark if is_accent(mark) => {}
            // Letter by letter, so that where a letter stands does not matter.
            other => folded.extend(other.to_lowercase().filter(|c| !is_accent(*c))),
        }
    }
    folded.nfc().collect()
}

/// Marks above, below and through letters, and the points of Hebrew and Arabic. Other scripts write vowels as marks, which count.
fn is_accent(c: char) -> bool {
    matches!(canonical_combining_class(c), 1 | 10..=36 | 200..=240)
}

/// A number for each three letters in a row within each of a text's words, ascending; different ones may share a number, so
/// what is found must be looked at. The text is folded already. None for words shorter than that.
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
    use super::{fold, grams};

    #[test]
    fn what_people_type_is_what_stands_there() {
        for (name, typed) in [
            ("José García", "JOSE GARCIA"),
            ("DÍAZ", "díaz"),
            ("Łukasz Søndergård", "lukasz sondergard"),
            ("Jürgen Weiß", "Ju\u{308}rgen WEISS"),
            ("WEIẞ", "weiss"),
            ("Οδυσσέας", "ΟΔΥΣΣΕΑΣ"),
            ("İpek Yıldız", "ipek YILDIZ"),
            ("葛\u{e0100}城", "葛城"),
            ("علی\u{200c}رضا", "علیرضا"),
            ("ශ්\u{200d}රී", "ශ්රී"),
            ("ﬁona Ｆｕｌｌ", "fiona full"),
            ("Nguyễn Đặng", "nguyen dang"),
            ("Þór Ærø", "thor aero"),
            ("김", "\u{1100}\u{1175}\u{11b7}"),
            ("が", "か\u{3099}"),
        ] {
            assert_eq!(fold(name), fold(typed), "{name}");
            assert_eq!(fold(&fold(name)), fold(name), "{name}");
        }
        assert!(fold("Οδυσσέας").contains(&fold("ΟΔΥΣ")));
        // A vowel that is written as a mark is no accent.
        for (one, other) in [("का", "के"), ("ศรี", "ศรา"), ("か", "が"), ("Müller", "Möller"), ("ශ්රී", "ශ්රා")]
        {
            assert_ne!(fold(one), fold(other), "{one}");
        }
    }

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
