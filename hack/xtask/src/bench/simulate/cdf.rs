//! Completion curves of whole fleets as SVG: the share of agents that were done after how long, the fluid bound, and what others have
//! published. A curve of thousands of agents is drawn as a few hundred points, so that the file stays small.

use std::fmt::Write;

use shoal_swarm_sim::Curve;

use super::super::svg::{line, text};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
/// Room for labels left, top, right, bottom of the plotting area.
const MARGIN: [f64; 4] = [60.0, 56.0, 28.0, 52.0];
/// Distinguishable also for the colour-blind (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
/// Points of a curve: more than the eye tells apart at this width.
const POINTS: usize = 200;
/// Ticks wanted on the axis of time.
const TICKS: f64 = 6.0;

/// A point that somebody has published: after how many seconds which share was done, and its label.
pub(super) type Published = (f64, f64, &'static str);

/// What is known of others in the same case.
pub(super) fn published(scenario: &str) -> &'static [Published] {
    match scenario {
        "kraken" => &[(10.0, 0.5, "Kraken p50"), (18.0, 0.99, "Kraken p99"), (22.0, 0.999, "Kraken p99.9")],
        _ => &[],
    }
}

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
pub(super) fn draw(title: &str, curves: &[&Curve], published: &[Published]) -> String {
    let last = |curve: &&Curve| curve.seconds.last().copied().unwrap_or(0.0).max(curve.bound);
    let longest = curves.iter().map(last).chain(published.iter().map(|point| point.0)).fold(1e-3, f64::max);
    let scale = Scale { seconds_max: longest * 1.06 };
    let mut labels: Vec<&str> = Vec::new();
    curves.iter().for_each(|curve| {
        if !labels.contains(&curve.label.as_str()) {
            labels.push(&curve.label);
        }
    });
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    axes(&mut svg, &scale, title);
    for (index, label) in labels.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        for curve in curves.iter().filter(|curve| curve.label == *label) {
            vertical(&mut svg, scale.x(curve.bound), colour);
            path(&mut svg, &scale, &curve.seconds, colour);
        }
        legend(&mut svg, index, label, colour);
    }
    for (seconds, share, label) in published {
        let (x, y) = (scale.x(*seconds), Scale::y(*share));
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"#444\"/>");
        text(&mut svg, [x - 6.0, y + 18.0], "middle", "fill=\"#444\"", label);
    }
    svg.push_str("</svg>\n");
    svg
}

/// The names of the curves, from the bottom up, where completion curves leave room.
fn legend(svg: &mut String, index: usize, label: &str, colour: &str) {
    let y = HEIGHT - MARGIN[3] - 14.0 - 18.0 * index as f64;
    let x = MARGIN[0] + 12.0;
    let _ = writeln!(
        svg,
        "<line x1=\"{x}\" y1=\"{y1:.1}\" x2=\"{x2}\" y2=\"{y1:.1}\" stroke=\"{colour}\" stroke-width=\"2\"/>",
        y1 = y - 4.0,
        x2 = x + 22.0
    );
    text(svg, [x + 28.0, y], "start", "", label);
}

fn axes(svg: &mut String, scale: &Scale, title: &str) {
    let (left, right) = (scale.x(0.0), scale.x(scale.seconds_max));
    text(svg, [WIDTH / 2.0, 22.0], "middle", "font-size=\"15\"", title);
    text(
        svg,
        [WIDTH / 2.0, HEIGHT - 10.0],
        "middle",
        "",
        "seconds since the start (dashed: the fluid bound)",
    );
    text(svg, [left, MARGIN[1] - 10.0], "middle", "", "agents done");
    for tick in 0..=4 {
        let share = f64::from(tick) / 4.0;
        line(svg, [left, Scale::y(share), right, Scale::y(share)], "stroke=\"#e4e4e4\"");
        text(svg, [left - 8.0, Scale::y(share) + 4.0], "end", "", &format!("{:.0} %", share * 100.0));
    }
    let step = step(scale.seconds_max);
    let mut seconds = 0.0;
    while seconds <= scale.seconds_max {
        let x = scale.x(seconds);
        line(svg, [x, Scale::y(0.0), x, Scale::y(0.0) + 4.0], "stroke=\"#333\"");
        text(svg, [x, HEIGHT - MARGIN[3] + 18.0], "middle", "", &shown(seconds, step));
        seconds += step;
    }
    line(svg, [left, Scale::y(0.0), right, Scale::y(0.0)], "stroke=\"#333\"");
    line(svg, [left, Scale::y(0.0), left, Scale::y(1.0)], "stroke=\"#333\"");
}

/// A round number of seconds, about [`TICKS`] of which fit.
fn step(longest: f64) -> f64 {
    let rough = longest / TICKS;
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(rough)
}

fn shown(seconds: f64, step: f64) -> String {
    let digits = (-step.log10().floor()).max(0.0) as usize;
    format!("{seconds:.digits$}")
}

fn vertical(svg: &mut String, x: f64, colour: &str) {
    line(svg, [x, Scale::y(0.0), x, Scale::y(1.0)], &format!("stroke=\"{colour}\" stroke-dasharray=\"5 4\""));
}

/// A curve through the shares of agents that were done.
fn path(svg: &mut String, scale: &Scale, seconds: &[f64], colour: &str) {
    let mut path = format!("M {:.1} {:.1}", scale.x(0.0), Scale::y(0.0));
    let count = seconds.len().max(1);
    let stride = count.div_ceil(POINTS);
    for (done, at) in (1..).zip(seconds) {
        if done == 1 || done == count || done % stride == 0 {
            let _ = write!(path, " H {:.1} V {:.1}", scale.x(*at), Scale::y(done as f64 / count as f64));
        }
    }
    let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_fleet_is_a_small_picture_with_the_points_of_others() {
        let curve = Curve {
            label: "a < b".to_owned(),
            seconds: (0..15_000).map(|agent| 10.0 + f64::from(agent) * 1e-4).collect(),
            bound: 10.0,
        };
        let svg = draw("fleet", &[&curve, &curve], published("kraken"));
        assert!(svg.len() < 30_000, "{}", svg.len());
        assert_eq!((svg.matches("<path").count(), svg.matches("<circle").count()), (2, 3));
        assert_eq!(svg.matches("stroke-dasharray").count(), 2);
        assert!(svg.contains("a &lt; b") && svg.ends_with("</svg>\n"));
        // One label for two runs of the same kind.
        assert_eq!(svg.matches("a &lt; b").count(), 1);
    }

    #[test]
    fn ticks_are_round() {
        assert!((step(23.3) - 5.0).abs() < 1e-9 && (step(0.047) - 0.01).abs() < 1e-9);
        assert_eq!((shown(0.02, 0.01), shown(5.0, 5.0)), ("0.02".to_owned(), "5".to_owned()));
    }
}
