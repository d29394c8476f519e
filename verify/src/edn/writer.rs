//! EDN, written as Jepsen writes it: one event a line.

use crate::history::{Event, History, Node, Process, Value};
use std::fmt::{self, Write};

pub(crate) fn write_value(value: Value<'_>, out: &mut dyn Write) -> fmt::Result {
    match value.node() {
        Node::Nil => out.write_str("nil"),
        Node::Bool(value) => write!(out, "{value}"),
        Node::Int(value) => write!(out, "{value}"),
        Node::Float(value) => write!(out, "{value:?}"),
        Node::Char(value) => match value {
            '\n' => out.write_str("\\newline"),
            ' ' => out.write_str("\\space"),
            '\t' => out.write_str("\\tab"),
            '\r' => out.write_str("\\return"),
            other => write!(out, "\\{other}"),
        },
        Node::Keyword(name) => write!(out, ":{}", value.text_of(name)),
        Node::Symbol(name) => out.write_str(value.text_of(name)),
        Node::Text(name) => write_text(value.text_of(name), out),
        Node::Sequence { sequence, .. } => {
            let (opening, closing) = sequence.brackets();
            out.write_str(opening)?;
            for (place, member) in value.members().enumerate() {
                if place > 0 {
                    out.write_char(' ')?;
                }
                write_value(member, out)?;
            }
            out.write_char(closing)
        }
    }
}

fn write_text(text: &str, out: &mut dyn Write) -> fmt::Result {
    out.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\t' => out.write_str("\\t")?,
            '\r' => out.write_str("\\r")?,
            c if c.is_control() => write!(out, "\\u{:04x}", c as u32)?,
            c => out.write_char(c)?,
        }
    }
    out.write_char('"')
}

/// One event as one line of EDN, without the end of the line.
pub fn write_event(history: &History, event: &Event, out: &mut dyn Write) -> fmt::Result {
    let kind = event.kind.name();
    write!(
        out,
        "{{:index {}, :time {}, :type :{kind}, :process ",
        event.index, event.time
    )?;
    match event.process {
        Process::Client(number) => write!(out, "{number}")?,
        Process::Other(name) => write!(out, ":{}", history.name(name))?,
    }
    match event.f {
        None => out.write_str(", :f nil")?,
        Some(f) => write!(out, ", :f :{}", history.name(f))?,
    }
    out.write_str(", :value ")?;
    write_value(history.value(event), out)?;
    out.write_char('}')
}
