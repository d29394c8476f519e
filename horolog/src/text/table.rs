//! Tables for people: columns as wide as their widest cell, two blanks between.

/// The lines of a table under its header; nothing is cut off, trailing blanks are.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&header).chain(rows).collect();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut out = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths);
        let padded: Vec<String> = cells.map(|(c, w)| format!("{c:<w$}")).collect();
        out.push_str(padded.join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![
            vec!["n1".into(), "±50 µs".into(), "x".into()],
            vec!["n10".into(), String::new()],
        ];
        assert_eq!(
            table(&["NODE", "BOUND", "L"], &rows),
            "NODE  BOUND   L\nn1    ±50 µs  x\nn10\n"
        );
    }
}
