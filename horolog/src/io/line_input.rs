//! Lines that a person types or a file gives.
//!
//! Reading a line blocks, so a thread of its own does it, one line each time it is asked. On leaving,
//! the terminal is put back as it was found, also when a signal ends the program in mid-line.

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, Helper, history::FileHistory};
use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::sync::mpsc as blocking;
use tokio::sync::mpsc;

/// Lines that are kept in the history.
const HISTORY_LINES_MAX: usize = 2_000;

/// What reading a line gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LineEvent {
    /// A line, without its end.
    Line(String),
    /// ^C: the line was given up.
    Interrupted,
    /// The end of the input.
    End,
    /// It could not be read.
    Failed(String),
}

/// Where lines come from.
#[derive(Debug)]
pub(crate) struct LineInput {
    ask: blocking::Sender<String>,
    lines: mpsc::UnboundedReceiver<LineEvent>,
    terminal: Option<Termios>,
}

/// Whether a person sits at both ends.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

impl LineInput {
    /// From standard input: with editing, history and completion if a person types there.
    pub(crate) fn open(words: Vec<String>) -> io::Result<LineInput> {
        let (ask, asked) = blocking::channel();
        let (told, lines) = mpsc::unbounded_channel();
        let interactive = is_interactive();
        // No terminal, nothing to put back.
        let terminal = interactive.then(|| tcgetattr(io::stdin()).ok()).flatten();
        let thread = std::thread::Builder::new().name("line-input".to_owned());
        if interactive {
            thread.spawn(move || read_terminal(words, &asked, &told))?;
        } else {
            thread.spawn(move || read_plain(&asked, &told))?;
        }
        Ok(LineInput {
            ask,
            lines,
            terminal,
        })
    }

    /// The next line.
    pub(crate) async fn next(&mut self, prompt: &str) -> LineEvent {
        // If the thread has gone, its channel is closed, which the next line shows.
        self.ask.send(prompt.to_owned()).ok();
        self.lines.recv().await.unwrap_or(LineEvent::End)
    }
}

impl Drop for LineInput {
    fn drop(&mut self) {
        if let Some(terminal) = &self.terminal
            && let Err(error) = tcsetattr(io::stdin(), OptionalActions::Now, terminal)
        {
            tracing::warn!("the terminal could not be put back: {error}");
        }
    }
}

fn read_plain(asked: &blocking::Receiver<String>, told: &mpsc::UnboundedSender<LineEvent>) {
    let mut lines = io::stdin().lock().lines();
    while asked.recv().is_ok() {
        let event = match lines.next() {
            Some(Ok(line)) => LineEvent::Line(line),
            Some(Err(error)) => LineEvent::Failed(error.to_string()),
            None => LineEvent::End,
        };
        if told.send(event).is_err() {
            return;
        }
    }
}

fn read_terminal(
    words: Vec<String>,
    asked: &blocking::Receiver<String>,
    told: &mpsc::UnboundedSender<LineEvent>,
) {
    let mut editor = match open_editor(words) {
        Ok(editor) => editor,
        Err(error) => {
            // Nobody listens only if the program ends.
            told.send(LineEvent::Failed(error.to_string())).ok();
            return;
        }
    };
    let history = history_file();
    if let Some(file) = history.as_ref().filter(|file| file.exists())
        && let Err(error) = editor.load_history(file)
    {
        tracing::warn!("the history {} cannot be read: {error}", file.display());
    }
    while let Ok(prompt) = asked.recv() {
        let event = match editor.readline(&prompt) {
            Ok(line) => {
                keep(&mut editor, history.as_ref(), &line);
                LineEvent::Line(line)
            }
            Err(ReadlineError::Interrupted) => LineEvent::Interrupted,
            Err(ReadlineError::Eof) => LineEvent::End,
            Err(error) => LineEvent::Failed(error.to_string()),
        };
        if told.send(event).is_err() {
            return;
        }
    }
}

type LineEditor = Editor<CommandNames, FileHistory>;

fn open_editor(words: Vec<String>) -> rustyline::Result<LineEditor> {
    let config = rustyline::Config::builder()
        .max_history_size(HISTORY_LINES_MAX)?
        .history_ignore_space(true)
        .completion_type(rustyline::CompletionType::List)
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(CommandNames(words)));
    Ok(editor)
}

fn keep(editor: &mut LineEditor, file: Option<&PathBuf>, line: &str) {
    let kept = editor.add_history_entry(line).and_then(|new| match file {
        Some(file) if new => editor.append_history(file),
        _ => Ok(()),
    });
    if let Err(error) = kept {
        tracing::warn!("the history cannot be written: {error}");
    }
}

fn history_file() -> Option<PathBuf> {
    if let Some(file) = std::env::var_os("HOROLOG_HISTORY") {
        return (!file.is_empty()).then(|| file.into());
    }
    std::env::home_dir().map(|home| home.join(".horolog_history"))
}

/// Completes the first word of a line.
struct CommandNames(Vec<String>);

impl Completer for CommandNames {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok((0, completions(&self.0, &line[..position])))
    }
}

impl Hinter for CommandNames {
    type Hint = String;
}

impl Highlighter for CommandNames {}
impl Validator for CommandNames {}
impl Helper for CommandNames {}

fn completions(names: &[String], typed: &str) -> Vec<String> {
    if typed.contains(char::is_whitespace) {
        return Vec::new();
    }
    let fitting = names.iter().filter(|name| name.starts_with(typed));
    fitting.map(|name| format!("{name} ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_is_completed() {
        let names = ["get", "get-for-update", "put"].map(str::to_owned);
        assert_eq!(completions(&names, "ge"), ["get ", "get-for-update "]);
        assert_eq!(completions(&names, "p"), ["put "]);
        assert!(completions(&names, "put a").is_empty());
    }
}
