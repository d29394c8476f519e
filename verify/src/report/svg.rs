//! A cycle as a small picture: one box a transaction with its micro-operations, one arrow an edge with
//! its relation, the last one leading back along the side.
//!
//! The picture stands alone: it names no font file, script or style from elsewhere, and is readable on
//! light and dark ground.

use crate::verdict::Picture;
use std::fmt::Write;

const WIDTH: usize = 860;
const MARGIN: usize = 20;
const BOX_WIDTH: usize = 700;
const LINE_HEIGHT: usize = 18;
/// Characters of a line in a box, and beside an arrow.
const BOX_CHARS: usize = 92;
const LABEL_CHARS: usize = 88;
/// Lines of a box and of a label; what is longer is cut.
const LINES_MAX: usize = 6;

/// Draws a cycle under a title.
pub fn svg(title: &str, picture: &Picture) -> String {
    let mut body = String::new();
    let mut y = MARGIN + 2 * LINE_HEIGHT;
    let mut boxes: Vec<(usize, usize)> = Vec::new();
    let last = picture.nodes.len().saturating_sub(1);
    for (number, node) in picture.nodes.iter().enumerate() {
        let lines = wrapped(&format!("T{}  {node}", number + 1), BOX_CHARS);
        let height = lines.len() * LINE_HEIGHT + 14;
        boxes.push((y, height));
        element(
            &mut body,
            &format!(
                r##"<rect x="{MARGIN}" y="{y}" width="{BOX_WIDTH}" height="{height}" rx="6" fill="#eef3fb" stroke="#41618f"/>"##
            ),
        );
        text_lines(&mut body, &lines, MARGIN + 10, y + 20, "#14233a");
        y += height;
        let Some((relation, why)) = picture.edges.get(number) else {
            continue;
        };
        let lines = wrapped(&format!("{relation}: {why}"), LABEL_CHARS);
        let gap = lines.len() * LINE_HEIGHT + 22;
        let color = color(relation);
        text_lines(&mut body, &lines, MARGIN + 60, y + 22, color);
        if number < last {
            arrow(
                &mut body,
                &format!("M {x} {y} L {x} {}", y + gap - 7, x = MARGIN + 40),
                color,
            );
        } else {
            // Back to the first, around the right side.
            let (from, to) = (boxes[number], boxes[0]);
            let (side, edge) = (MARGIN + BOX_WIDTH + 80, MARGIN + BOX_WIDTH);
            let (start, end) = (from.0 + from.1 / 2, to.0 + to.1 / 2);
            let (start, end) = if last == 0 {
                (start + 6, end - 6)
            } else {
                (start, end)
            };
            arrow(
                &mut body,
                &format!(
                    "M {edge} {start} L {side} {start} L {side} {end} L {} {end}",
                    edge + 7
                ),
                color,
            );
        }
        y += gap;
    }
    let height = y + MARGIN;
    let mut out = String::new();
    element(
        &mut out,
        &format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="12">"##
        ),
    );
    element(&mut out, &format!("<title>{}</title>", escaped(title)));
    element(
        &mut out,
        &format!(r##"<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>"##),
    );
    element(
        &mut out,
        r##"<defs><marker id="head" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="context-stroke"/></marker></defs>"##,
    );
    element(
        &mut out,
        &format!(
            r##"<text x="{MARGIN}" y="{}" font-size="15" font-weight="bold" fill="#14233a">{}</text>"##,
            MARGIN + 6,
            escaped(title)
        ),
    );
    out += &body;
    out += "</svg>\n";
    out
}

fn element(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a String takes whatever is written");
}

fn arrow(out: &mut String, path: &str, color: &str) {
    element(
        out,
        &format!(
            r##"<path d="{path}" fill="none" stroke="{color}" stroke-width="2" marker-end="url(#head)"/>"##
        ),
    );
}

fn text_lines(out: &mut String, lines: &[String], x: usize, y: usize, color: &str) {
    for (number, line) in lines.iter().enumerate() {
        let y = y + number * LINE_HEIGHT;
        element(
            out,
            &format!(
                r##"<text x="{x}" y="{y}" fill="{color}" xml:space="preserve">{}</text>"##,
                escaped(line)
            ),
        );
    }
}

fn color(relation: &str) -> &'static str {
    match relation {
        "ww" => "#b03a2e",
        "wr" => "#1f6f43",
        "rw" => "#7d3c98",
        _ => "#5d6d7e",
    }
}

/// Cut into lines, at blanks where there are any.
fn wrapped(text: &str, chars: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        let mut rest: &str = word;
        loop {
            let line = lines.last_mut().expect("there is a line");
            let blank = usize::from(!line.is_empty());
            if line.chars().count() + blank + rest.chars().count() <= chars {
                if blank == 1 {
                    line.push(' ');
                }
                line.push_str(rest);
                break;
            }
            if line.is_empty() {
                let cut = rest
                    .char_indices()
                    .nth(chars)
                    .map_or(rest.len(), |(at, _)| at);
                line.push_str(&rest[..cut]);
                rest = &rest[cut..];
            }
            lines.push(String::new());
        }
    }
    if lines.len() > LINES_MAX {
        lines.truncate(LINES_MAX);
        lines[LINES_MAX - 1] += " …";
    }
    lines
}

/// Fit for XML: its special characters written out, and those that it forbids left out.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transaction_and_edge_is_drawn_and_text_is_escaped() {
        let picture = Picture {
            nodes: vec!["event 1: [[:r \"<a&b>\" nil]]".into(), "event 3".into()],
            edges: vec![
                ("rw", "T1 missed it".into()),
                ("realtime", "answered before".into()),
            ],
        };
        let drawn = svg("G-single-item-realtime", &picture);
        assert!(drawn.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
        assert_eq!(drawn.matches("marker-end").count(), 2);
        assert!(
            drawn.contains("T1  event 1: [[:r &quot;&lt;a&amp;b&gt;&quot; nil]]"),
            "{drawn}"
        );
        assert!(drawn.contains("realtime: answered before"));
        let (open, closed) = (
            drawn.matches("<text").count(),
            drawn.matches("</text>").count(),
        );
        assert_eq!(open, closed);
    }

    #[test]
    fn long_words_and_long_texts_are_cut() {
        assert_eq!(
            wrapped("aaaa bb cccccccc d", 5),
            ["aaaa", "bb", "ccccc", "ccc d"]
        );
        let long = wrapped(&"x ".repeat(5_000), 20);
        assert_eq!(long.len(), LINES_MAX);
        assert!(long[LINES_MAX - 1].ends_with('…'));
    }
}
