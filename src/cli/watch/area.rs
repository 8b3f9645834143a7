//! The lines at the bottom of a terminal that change in place, and those that scroll by above them.

use std::io::{self, Write as _};

/// The bottom lines. Where no terminal is, there are none.
#[derive(Debug)]
pub(in crate::cli) struct Area {
    terminal: bool,
    /// Whether these are lines of progress, and go to stderr.
    progress: bool,
    drawn: Vec<String>,
}

impl Area {
    pub(in crate::cli) fn new(terminal: bool) -> Self {
        Self {
            terminal,
            progress: false,
            drawn: Vec::new(),
        }
    }

    /// Whether it is drawn at all.
    pub(in crate::cli) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// The same for progress, beside data on stdout.
    pub(in crate::cli) fn of_progress(terminal: bool) -> Self {
        Self {
            progress: true,
            ..Self::new(terminal)
        }
    }

    /// Writes lines that stay, above the bottom lines.
    ///
    /// # Errors
    /// When stdout is closed.
    pub(in crate::cli) fn above(&mut self, lines: &[String]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let drawn = std::mem::take(&mut self.drawn);
        let mut all = erase(drawn.len());
        for line in lines {
            all.push_str(line);
            all.push('\n');
        }
        // Drawn again at once, so that nothing flickers.
        for line in &drawn {
            all.push_str(line);
            all.push('\n');
        }
        self.drawn = drawn;
        self.write(&all)
    }

    /// Draws the bottom lines anew if they are others by now.
    pub(in crate::cli) fn draw(&mut self, lines: impl FnOnce() -> Vec<String>) {
        if !self.terminal {
            return;
        }
        let lines = lines();
        if lines == self.drawn {
            return;
        }
        let mut all = erase(self.drawn.len());
        for line in &lines {
            all.push_str(line);
            all.push('\n');
        }
        self.drawn = lines;
        // A terminal that is gone ends the watching with the next step.
        let _ = self.write(&all);
    }

    /// Takes the bottom lines away.
    pub(in crate::cli) fn clear(&mut self) {
        let drawn = std::mem::take(&mut self.drawn);
        let _ = self.write(&erase(drawn.len()));
    }

    fn write(&self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        if self.progress {
            let mut err = anstream::stderr().lock();
            err.write_all(text.as_bytes())?;
            return err.flush();
        }
        let mut out = anstream::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

/// Goes up a number of lines and takes them away.
fn erase(lines: usize) -> String {
    if lines == 0 {
        return String::new();
    }
    format!("\r\u{1b}[{lines}A\u{1b}[J")
}
