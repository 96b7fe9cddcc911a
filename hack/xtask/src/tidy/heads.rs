//! Every Rust file starts by saying why it exists.

use super::Violation;
use super::house::House;

/// The shortest head that can say anything, in letters.
const HEAD_LEN_MIN: usize = 12;

/// Looks at the first line of every Rust file.
pub(super) fn check(house: &House) -> Vec<Violation> {
    let silent = |text: &str| {
        let first = text.lines().next().unwrap_or_default();
        first.strip_prefix("//!").is_none_or(|head| head.trim().len() < HEAD_LEN_MIN)
    };
    house
        .rust()
        .filter(|file| silent(&file.text))
        .map(|file| Violation {
            place: file.path.clone(),
            what: "the file does not start with `//!` and a sentence".to_owned(),
            remedy: "say why the file exists, what it does not do, and the price paid",
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_a_reason_are_found() {
        let house = House::of(&[
            ("a.rs", "//! Where a piece lies inside its blob.\n"),
            ("b.rs", "use x;\n"),
            ("c.rs", "//!\n//! Later.\n"),
            ("d.rs", ""),
        ]);
        assert_eq!(check(&house).len(), 3);
    }
}
