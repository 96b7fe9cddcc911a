//! Places in a text, and text put into it without touching the rest.

/// The line of an offset, from one.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Where the line of an offset begins.
pub(super) fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Where the line of an offset ends, behind its newline.
pub(super) fn line_end(text: &str, offset: usize) -> usize {
    text[offset..].find('\n').map_or(text.len(), |newline| offset + newline + 1)
}

/// How this text ends its lines.
pub(super) fn newline(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// Puts a block of whole lines, written with `\n`, at an offset where a line begins or the text ends.
pub(super) fn insert(text: &str, offset: usize, block: &str) -> String {
    let newline = newline(text);
    let (before, behind) = text.split_at(offset);
    let gap = if before.is_empty() || before.ends_with('\n') { "" } else { newline };
    format!("{before}{gap}{}{behind}", block.replace('\n', newline))
}

/// Puts text anywhere.
pub(super) fn splice(text: &str, range: std::ops::Range<usize>, new: &str) -> String {
    format!("{}{new}{}", &text[..range.start], &text[range.end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_take_the_newlines_of_the_text() {
        assert_eq!(insert("a\r\nb\r\n", 3, "x\n"), "a\r\nx\r\nb\r\n");
        assert_eq!(insert("a", 1, "x\n"), "a\nx\n");
        assert_eq!(insert("", 0, "x\n"), "x\n");
        assert_eq!((line_of("a\nb", 2), line_start("a\nb", 2), line_end("a\nb\nc", 2)), (2, 2, 4));
    }
}
