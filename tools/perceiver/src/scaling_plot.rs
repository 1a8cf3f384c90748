//! The log-log plot of `perceiver scaling`, as SVG.

use perceiver::{Error, Result};
use plotters::prelude::*;

use crate::scaling::{Line, Point};

/// Colours that stay apart for colour-blind readers (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(80, 80, 80),
];

/// Seconds against size, a line for each series and device with its fitted slope in the legend, and the
/// roofline: the least time by the device's ceilings.
pub(crate) fn draw(points: &[Point], lines: &[Line]) -> Result<String> {
    let mut svg = String::new();
    drawn(&mut svg, points, lines)
        .map_err(|e| Error::io("draw", "scaling.svg", std::io::Error::other(e.to_string())))?;
    Ok(svg)
}

fn drawn(
    svg: &mut String,
    points: &[Point],
    lines: &[Line],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, (960, 640)).into_drawing_area();
    root.fill(&WHITE)?;
    let range = |values: &[fn(&Point) -> f64]| {
        let all = points.iter().flat_map(|p| values.iter().map(move |value| value(p)));
        let (low, high) = all.fold((f64::INFINITY, 0.0f64), |(l, h), v| (l.min(v), h.max(v)));
        // Nothing measured still makes a plot, with empty axes.
        if low.is_finite() { low / 1.5..high * 1.5 } else { 0.5..2.0 }
    };
    let mut chart = ChartBuilder::on(&root)
        .caption(
            "Time of one layer against its size; dashed: least time by the device's ceilings",
            ("sans-serif", 18),
        )
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d(
            range(&[|p| p.size as f64]).log_scale().base(2.0),
            range(&[|p| p.seconds, |p| p.roof_seconds]).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc("elements: inputs M, latents N, outputs O")
        .y_desc("seconds")
        .x_label_formatter(&|n| format!("2^{:.0}", n.log2()))
        .y_label_formatter(&|s| format!("{s:.0e}"))
        .light_line_style(RGBColor(235, 235, 235))
        .draw()?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let of_line = points.iter().filter(|p| p.series == line.series && p.device == line.device);
        let roof = of_line.clone().map(|p| (p.size as f64, p.roof_seconds));
        chart.draw_series(DashedLineSeries::new(roof, 6, 4, colour.stroke_width(1)))?;
        let of_line: Vec<(f64, f64)> = of_line.map(|p| (p.size as f64, p.seconds)).collect();
        let slope = line.time_slope.map_or_else(String::new, |s| format!(", slope {s:.2}"));
        let label = format!("{} on {}{slope}", line.series, line.device);
        chart
            .draw_series(LineSeries::new(of_line.iter().copied(), colour.stroke_width(2)))?
            .label(label)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
        chart.draw_series(of_line.iter().map(|&at| Circle::new(at, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .draw()?;
    root.present()?;
    Ok(())
}
