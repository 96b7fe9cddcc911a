//! Lines and words of an SVG, as the pictures of the benches are written: by hand, since they need no more than this.

use std::fmt::Write as _;

/// A line from one point to another; `style` is further attributes.
pub(super) fn line(svg: &mut String, [x1, y1, x2, y2]: [f64; 4], style: &str) {
    let _ = writeln!(svg, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>");
}

/// Words at a point, which is their start, middle or end as `anchor` says; `style` is further attributes.
pub(super) fn text(svg: &mut String, [x, y]: [f64; 2], anchor: &str, style: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {style}>{words}</text>");
}
