//! Completion curves as SVG, written by hand: how many of the agents were done after how long, beside the bound.

use std::fmt::Write;

use super::svg::{line, text};

/// One run.
pub(super) struct Curve {
    /// Runs with the same label have the same colour.
    pub(super) label: String,
    /// When each agent was done.
    pub(super) seconds: Vec<f64>,
    /// The fluid bound.
    pub(super) bound: f64,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
/// Room for labels left, top, right, bottom of the plotting area.
const MARGIN: [f64; 4] = [60.0, 48.0, 24.0, 56.0];
/// Distinguishable also for the colour-blind (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
/// Ticks on each axis.
const TICKS: u32 = 5;

/// The plotting area and its scale.
struct Scale {
    seconds_max: f64,
}

impl Scale {
    fn x(&self, seconds: f64) -> f64 {
        MARGIN[0] + seconds / self.seconds_max * (WIDTH - MARGIN[0] - MARGIN[2])
    }

    fn y(share: f64) -> f64 {
        HEIGHT - MARGIN[3] - share * (HEIGHT - MARGIN[1] - MARGIN[3])
    }
}

/// The picture.
pub(super) fn draw(title: &str, curves: &[Curve]) -> String {
    let longest = curves
        .iter()
        .flat_map(|curve| curve.seconds.iter().chain([&curve.bound]))
        .copied()
        .fold(1.0, f64::max);
    let scale = Scale { seconds_max: longest * 1.05 };
    let mut labels: Vec<&str> = curves.iter().map(|curve| curve.label.as_str()).collect();
    labels.dedup();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    axes(&mut svg, &scale, title);
    for (index, label) in labels.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        for curve in curves.iter().filter(|curve| curve.label == *label) {
            bound(&mut svg, &scale, curve.bound, colour);
            steps(&mut svg, &scale, curve, colour);
        }
        let y = 20.0_f64.mul_add(f64::from(u32::try_from(index).unwrap_or(0)), MARGIN[1] + 16.0);
        text(&mut svg, [MARGIN[0] + 12.0, y], "start", &format!("fill=\"{colour}\""), label);
    }
    svg.push_str("</svg>\n");
    svg
}

fn axes(svg: &mut String, scale: &Scale, title: &str) {
    let (left, right) = (scale.x(0.0), scale.x(scale.seconds_max));
    text(svg, [WIDTH / 2.0, 24.0], "middle", "font-size=\"16\"", title);
    text(
        svg,
        [WIDTH / 2.0, HEIGHT - 12.0],
        "middle",
        "",
        "seconds since the starting shot (dashed: fluid bound)",
    );
    text(svg, [left, MARGIN[1] - 10.0], "middle", "", "agents done");
    for tick in 0..=TICKS {
        let share = f64::from(tick) / f64::from(TICKS);
        let (x, y) = (scale.x(share * scale.seconds_max), Scale::y(share));
        line(svg, [left, y, right, y], "stroke=\"#ddd\"");
        text(svg, [left - 8.0, y + 4.0], "end", "", &format!("{:.0} %", share * 100.0));
        text(svg, [x, HEIGHT - MARGIN[3] + 20.0], "middle", "", &format!("{:.1}", share * scale.seconds_max));
    }
    line(svg, [left, Scale::y(0.0), right, Scale::y(0.0)], "stroke=\"#333\"");
    line(svg, [left, Scale::y(0.0), left, Scale::y(1.0)], "stroke=\"#333\"");
}

fn bound(svg: &mut String, scale: &Scale, seconds: f64, colour: &str) {
    let x = scale.x(seconds);
    line(svg, [x, Scale::y(0.0), x, Scale::y(1.0)], &format!("stroke=\"{colour}\" stroke-dasharray=\"5 4\""));
}

/// A staircase: one step up for each agent that is done.
fn steps(svg: &mut String, scale: &Scale, curve: &Curve, colour: &str) {
    let mut seconds = curve.seconds.clone();
    seconds.sort_by(f64::total_cmp);
    let count = f64::from(u32::try_from(seconds.len()).unwrap_or(u32::MAX).max(1));
    let mut path = format!("M {:.1} {:.1}", scale.x(0.0), Scale::y(0.0));
    for (done, seconds) in (1_u32..).zip(&seconds) {
        let _ = write!(path, " H {:.1} V {:.1}", scale.x(*seconds), Scale::y(f64::from(done) / count));
    }
    let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_agent_is_a_step_and_every_run_has_its_bound() {
        let curve = |label: &str| Curve { label: label.to_owned(), seconds: vec![3.0, 1.0, 2.0], bound: 1.5 };
        let svg = draw("a < b", &[curve("3 agents"), curve("3 agents"), curve("4 agents")]);
        assert_eq!(svg.matches("<path").count(), 3);
        assert_eq!(svg.matches("stroke-dasharray").count(), 3);
        assert_eq!(svg.matches(" V ").count(), 9);
        assert!(svg.contains("a &lt; b") && svg.ends_with("</svg>\n"));
    }
}
