//! What a request hides, and how it comes back: whole, or piece by piece.

use super::patterns::find;

/// What one request hides: the placeholders with what they stand for, and by choice the text withheld.
#[derive(Default)]
pub(crate) struct Masks {
    masked: Vec<(String, String)>,
    held: Vec<(u64, String)>,
}

impl Masks {
    pub(crate) fn mask(&mut self, text: &str) -> String {
        let (mut masked, mut rest) = (String::new(), text);
        while let Some((start, end, kind)) = find(rest) {
            masked += &rest[..start];
            masked += self.placeholder(kind, &rest[start..end]);
            rest = &rest[end..];
        }
        masked + rest
    }

    /// The same for the same text, so that the model can tell people apart.
    fn placeholder(&mut self, kind: &str, text: &str) -> &str {
        let known = self.masked.iter().position(|(_, masked)| masked == text);
        let at = known.unwrap_or_else(|| {
            self.masked.push((format!("[{kind}_{}]", self.masked.len() + 1), text.to_owned()));
            self.masked.len() - 1
        });
        &self.masked[at].0
    }

    pub(crate) fn restore(&self, text: &str) -> String {
        self.masked.iter().fold(text.to_owned(), |text, (mask, masked)| text.replace(mask, masked))
    }

    /// Restores the next piece of a choice's text, without an end that may go on as a placeholder.
    pub(crate) fn restore_piece(&mut self, choice: u64, piece: &str, ends: bool) -> String {
        let held = self.held.iter().position(|(there, _)| *there == choice);
        let held = held.map(|at| self.held.swap_remove(at).1).unwrap_or_default();
        let mut text = self.restore(&(held + piece));
        if let Some(at) = text.rfind('[').filter(|_| !ends)
            && self.masked.iter().any(|(mask, _)| mask.starts_with(&text[at..]))
        {
            self.held.push((choice, text.split_off(at)));
        }
        text
    }

    /// Is there nothing to restore?
    pub(crate) fn is_empty(&self) -> bool {
        self.masked.is_empty()
    }

    /// What is withheld, by choice.
    pub(crate) fn take_held(&mut self) -> Vec<(u64, String)> {
        std::mem::take(&mut self.held)
    }
}
