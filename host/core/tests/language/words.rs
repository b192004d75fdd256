//! The words of a command: quoted ones, `key=value` options, and flags. It knows no command.

use bytes::Bytes;

/// Words that have not been taken yet.
pub struct Words {
    left: Vec<String>,
}

impl Words {
    /// Splits at blanks that are not in quotes. `x*9` at the end of a word is nine letters.
    pub fn of(line: &str) -> Self {
        let mut left = Vec::new();
        let mut word = String::new();
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '"' => {
                    quoted = !quoted;
                    word.push(c);
                }
                ' ' if !quoted => {
                    if !word.is_empty() {
                        left.push(std::mem::take(&mut word));
                    }
                }
                c => word.push(c),
            }
        }
        if !word.is_empty() {
            left.push(word);
        }
        Self { left: left.into_iter().map(long).collect() }
    }

    /// The next word.
    pub fn next(&mut self, what: &str) -> Result<String, String> {
        if self.left.is_empty() {
            Err(format!("{what} is missing"))
        } else {
            Ok(self.left.remove(0))
        }
    }

    /// The next word, as a path or a name: quoted if it has blanks or escapes.
    pub fn path(&mut self) -> Result<String, String> {
        let word = self.next("a path")?;
        Ok(word.trim_matches('"').replace("\\0", "\0").replace("\\t", "\t"))
    }

    /// The next word if it is in quotes, or `bytes=N`: data. Empty if there is none.
    pub fn data(&mut self) -> Result<Bytes, String> {
        if let Some(size) = self.number("bytes")? {
            let size = usize::try_from(size).map_err(|error| error.to_string())?;
            return Ok(Bytes::from(vec![b'x'; size]));
        }
        match self.left.first() {
            Some(word) if word.starts_with('"') => {
                Ok(Bytes::from(self.left.remove(0).trim_matches('"').to_owned()))
            }
            _ => Ok(Bytes::new()),
        }
    }

    /// Whether this flag is among the words.
    pub fn flag(&mut self, flag: &str) -> bool {
        let before = self.left.len();
        self.left.retain(|word| word != flag);
        before > self.left.len()
    }

    /// The value of `key=value`.
    pub fn option(&mut self, key: &str) -> Option<String> {
        let at = self
            .left
            .iter()
            .position(|word| word.strip_prefix(key).is_some_and(|rest| rest.starts_with('=')))?;
        Some(self.left.remove(at)[key.len() + 1..].to_owned())
    }

    /// The value of `key=number`.
    pub fn number(&mut self, key: &str) -> Result<Option<u64>, String> {
        self.option(key)
            .map(|value| value.parse::<u64>().map_err(|error| format!("{key}={value}: {error}")))
            .transpose()
    }

    /// All that is left, as one text.
    pub fn rest(&mut self) -> String {
        std::mem::take(&mut self.left).join(" ")
    }

    /// Nothing may be left.
    pub fn finish(self) -> Result<(), String> {
        if self.left.is_empty() { Ok(()) } else { Err(format!("left over: {:?}", self.left)) }
    }
}

fn long(word: String) -> String {
    let count = word.split_once("x*").map(|(head, count)| (head, count.parse::<usize>()));
    match count {
        Some((head, Ok(count))) => format!("{head}{}", "x".repeat(count)),
        _ => word,
    }
}
