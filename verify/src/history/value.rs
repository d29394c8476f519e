//! Values of a history, all of them in one array.
//!
//! A history of 100,000 transactions holds millions of values. A tree with a box for each would cost an
//! allocation for each; here a value is a place in one array in *preorder*: a sequence is followed by
//! its members, and knows where they end.
//!
//! ```text
//!   [[:append 4 17] [:r 4 nil]]
//!   Vector(9) Vector(5) :append 4 17 Vector(9) :r 4 nil
//!   0         1         2       3 4  5         6  7 8
//! ```

use crate::intern::{Name, Names};
use std::fmt;

/// The four kinds of sequence of EDN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sequence {
    /// `(a b)`
    List,
    /// `[a b]`
    Vector,
    /// `#{a b}`
    Set,
    /// `{a b}`: keys and values by turns.
    Map,
}

impl Sequence {
    /// How it is written.
    pub(crate) fn brackets(self) -> (&'static str, char) {
        match self {
            Sequence::List => ("(", ')'),
            Sequence::Vector => ("[", ']'),
            Sequence::Set => ("#{", '}'),
            Sequence::Map => ("{", '}'),
        }
    }
}

/// One place of the array.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Node {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Char(char),
    Keyword(Name),
    Text(Name),
    Symbol(Name),
    /// `end`: the first place behind its members.
    Sequence {
        sequence: Sequence,
        end: u32,
    },
}

/// The array, and the names in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values {
    pub(crate) nodes: Vec<Node>,
    pub(crate) names: Names,
}

impl Values {
    pub(crate) fn view(&self, at: u32) -> Value<'_> {
        Value { values: self, at }
    }

    /// Adds a value that was built by hand; `None` when 2^32 places are taken.
    pub(crate) fn push(&mut self, form: &Form) -> Option<u32> {
        let at = u32::try_from(self.nodes.len()).ok()?;
        let node = match form {
            Form::Nil => Node::Nil,
            Form::Bool(value) => Node::Bool(*value),
            Form::Int(value) => Node::Int(*value),
            Form::Float(value) => Node::Float(*value),
            Form::Char(value) => Node::Char(*value),
            Form::Keyword(text) => Node::Keyword(self.names.intern(text)?),
            Form::Text(text) => Node::Text(self.names.intern(text)?),
            Form::Symbol(text) => Node::Symbol(self.names.intern(text)?),
            Form::Sequence(sequence, members) => {
                let sequence = *sequence;
                self.nodes.push(Node::Sequence { sequence, end: 0 });
                for member in members {
                    self.push(member)?;
                }
                let end = u32::try_from(self.nodes.len()).ok()?;
                self.nodes[at as usize] = Node::Sequence { sequence, end };
                return Some(at);
            }
        };
        self.nodes.push(node);
        Some(at)
    }
}

/// A value built by hand: what a recorder is given.
#[derive(Clone, PartialEq, Debug)]
pub enum Form {
    /// `nil`
    Nil,
    /// `true`, `false`
    Bool(bool),
    /// `17`
    Int(i64),
    /// `1.5`
    Float(f64),
    /// `\a`
    Char(char),
    /// `:append`
    Keyword(String),
    /// `"text"`
    Text(String),
    /// `symbol`
    Symbol(String),
    /// `[…]` and its like; a map's keys and values by turns.
    Sequence(Sequence, Vec<Form>),
}

impl Form {
    /// `:name`
    pub fn keyword(name: impl Into<String>) -> Form {
        Form::Keyword(name.into())
    }

    /// `[…]`
    pub fn vector(members: impl IntoIterator<Item = Form>) -> Form {
        Form::Sequence(Sequence::Vector, members.into_iter().collect())
    }

    /// `{…}`
    pub fn map(entries: impl IntoIterator<Item = (Form, Form)>) -> Form {
        let members = entries.into_iter().flat_map(|(key, value)| [key, value]);
        Form::Sequence(Sequence::Map, members.collect())
    }
}

impl From<i64> for Form {
    fn from(value: i64) -> Form {
        Form::Int(value)
    }
}

impl From<&str> for Form {
    fn from(value: &str) -> Form {
        Form::Text(value.to_owned())
    }
}

impl From<Option<i64>> for Form {
    fn from(value: Option<i64>) -> Form {
        value.map_or(Form::Nil, Form::Int)
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut values = Values::default();
        let at = values.push(self).ok_or(fmt::Error)?;
        values.view(at).fmt(f)
    }
}

/// One value of a history, looked at.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    values: &'a Values,
    at: u32,
}

impl<'a> Value<'a> {
    pub(crate) fn node(self) -> Node {
        self.values.nodes[self.at as usize]
    }

    /// Its place in the array.
    pub(crate) fn place(self) -> u32 {
        self.at
    }

    pub(crate) fn text_of(self, name: Name) -> &'a str {
        self.values.names.text(name)
    }

    /// Whether it is `nil`.
    pub fn is_nil(self) -> bool {
        self.node() == Node::Nil
    }

    /// The number, if it is an integer.
    pub fn int(self) -> Option<i64> {
        match self.node() {
            Node::Int(value) => Some(value),
            _ => None,
        }
    }

    /// The text of a keyword, a string or a symbol: JSON has strings where EDN has keywords.
    pub fn name(self) -> Option<&'a str> {
        match self.node() {
            Node::Keyword(name) | Node::Text(name) | Node::Symbol(name) => Some(self.text_of(name)),
            _ => None,
        }
    }

    /// Which kind of sequence it is.
    pub fn sequence(self) -> Option<Sequence> {
        match self.node() {
            Node::Sequence { sequence, .. } => Some(sequence),
            _ => None,
        }
    }

    /// The members of a vector, list or set; of a map its keys and values by turns. Nothing else has any.
    pub fn members(self) -> Members<'a> {
        let end = match self.node() {
            Node::Sequence { end, .. } => end,
            _ => self.at + 1,
        };
        Members {
            values: self.values,
            at: self.at + 1,
            end,
        }
    }

    /// The members of a sequence that has exactly so many.
    pub fn tuple<const N: usize>(self) -> Option<[Value<'a>; N]> {
        self.sequence()
            .filter(|sequence| *sequence != Sequence::Map)?;
        let mut members = self.members();
        let mut tuple = [self; N];
        for place in &mut tuple {
            *place = members.next()?;
        }
        members.next().is_none().then_some(tuple)
    }

    /// The entries of a map.
    pub fn entries(self) -> impl Iterator<Item = (Value<'a>, Value<'a>)> {
        let is_map = self.sequence() == Some(Sequence::Map);
        let mut members = self.members();
        std::iter::from_fn(move || {
            let key = members.next().filter(|_| is_map)?;
            Some((key, members.next()?))
        })
    }

    /// What a map holds under a keyword or string.
    pub fn get(self, name: &str) -> Option<Value<'a>> {
        self.entries()
            .find(|(key, _)| key.name() == Some(name))
            .map(|(_, value)| value)
    }

    /// Whether both are written the same way.
    pub fn same(self, other: Value<'_>) -> bool {
        match (self.node(), other.node()) {
            (Node::Keyword(a), Node::Keyword(b))
            | (Node::Text(a), Node::Text(b))
            | (Node::Symbol(a), Node::Symbol(b)) => self.text_of(a) == other.text_of(b),
            (Node::Sequence { sequence: a, .. }, Node::Sequence { sequence: b, .. }) => {
                let (mut ours, mut theirs) = (self.members(), other.members());
                a == b
                    && loop {
                        match (ours.next(), theirs.next()) {
                            (None, None) => break true,
                            (Some(one), Some(other)) if one.same(other) => {}
                            _ => break false,
                        }
                    }
            }
            (a, b) => a == b,
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::edn::write_value(*self, f)
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The members of a sequence, in order.
#[derive(Clone)]
pub struct Members<'a> {
    values: &'a Values,
    at: u32,
    end: u32,
}

impl<'a> Iterator for Members<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        if self.at >= self.end {
            return None;
        }
        let value = self.values.view(self.at);
        self.at = match value.node() {
            Node::Sequence { end, .. } => end,
            _ => self.at + 1,
        };
        Some(value)
    }
}
