//! From the words of an expression to its tree.

use super::arithmetic::Operator;
use super::attribute::{Attribute, Group};
use super::token::{Token, tokens};
use super::value::{Kind, Value};
use super::{ExpressionError, MAX_DEPTH, MAX_LENGTH, Node, call};

/// A tree, and what is to be known of it.
pub(super) struct Parsed {
    pub(super) root: Node,
    pub(super) measured: bool,
    pub(super) unset: Vec<Box<str>>,
}

type Read<T> = Result<T, ExpressionError>;

/// A tree with its depth.
type Deep = (Node, usize);

/// Words that are nobody's name.
const RESERVED: [&str; 16] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "namespace",
    "package",
    "return",
    "void",
    "while",
];
/// Words with a meaning.
const WORDS: [&str; 4] = ["in", "true", "false", "null"];

pub(super) fn parse(text: &str) -> Read<Parsed> {
    if text.len() > MAX_LENGTH {
        return Err(ExpressionError { at: MAX_LENGTH, why: format!("is longer than {MAX_LENGTH} bytes") });
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0, unset: Vec::new() };
    let (root, _) = parser.expression()?;
    if *parser.peek() != Token::End {
        return parser.error("something stands behind its end");
    }
    let mut found = Found { measured: false, unset: parser.unset };
    let root = found.resolved(root);
    Ok(Parsed { root, measured: found.measured, unset: found.unset })
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    next: usize,
    /// Expressions that the current one stands in.
    depth: usize,
    unset: Vec<Box<str>>,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(token, _)| token)
    }

    fn peek_behind(&self) -> &Token {
        self.tokens.get(self.next + 1).map_or(&Token::End, |(token, _)| token)
    }

    fn at(&self) -> usize {
        let last = self.tokens.len().saturating_sub(1);
        self.tokens.get(self.next.min(last)).map_or(0, |(_, at)| *at)
    }

    fn error<T>(&self, why: impl Into<String>) -> Read<T> {
        Err(ExpressionError { at: self.at(), why: why.into() })
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    /// Whether the next word is this sign; if so, it is taken.
    fn takes(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek(), Token::Sign(next) if *next == sign);
        self.next += usize::from(is);
        is
    }

    fn expect(&mut self, sign: &str) -> Read<()> {
        if self.takes(sign) { Ok(()) } else { self.error(format!("{sign:?} is missing")) }
    }

    /// One deeper than its parts.
    fn over(&self, node: Node, parts: &[usize]) -> Read<Deep> {
        let depth = 1 + parts.iter().max().copied().unwrap_or(0);
        if depth > MAX_DEPTH { self.too_deep() } else { Ok((node, depth)) }
    }

    fn too_deep<T>(&self) -> Read<T> {
        self.error(format!("is nested more than {MAX_DEPTH} deep"))
    }

    /// `a ? b : c`
    fn expression(&mut self) -> Read<Deep> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.too_deep();
        }
        let (condition, first) = self.any()?;
        let read = if self.takes("?") {
            let (yes, second) = self.any()?;
            self.expect(":")?;
            let (no, third) = self.expression()?;
            self.over(Node::Choice(Box::new([condition, yes, no])), &[first, second, third])?
        } else {
            (condition, first)
        };
        self.depth -= 1;
        Ok(read)
    }

    fn any(&mut self) -> Read<Deep> {
        self.chain("||", Self::all, Node::Any)
    }

    fn all(&mut self) -> Read<Deep> {
        self.chain("&&", Self::relation, Node::All)
    }

    /// As many of a kind as there are, as one node: it does not get deeper for it.
    fn chain(
        &mut self,
        sign: &str,
        part: fn(&mut Self) -> Read<Deep>,
        node: fn(Vec<Node>) -> Node,
    ) -> Read<Deep> {
        let first = part(self)?;
        let (mut parts, mut depths) = (vec![first.0], vec![first.1]);
        while self.takes(sign) {
            let (part, depth) = part(self)?;
            parts.push(part);
            depths.push(depth);
        }
        match (parts.len(), parts.pop()) {
            (1, Some(only)) => Ok((only, first.1)),
            (_, last) => {
                parts.extend(last);
                self.over(node(parts), &depths)
            }
        }
    }

    fn relation(&mut self) -> Read<Deep> {
        self.pairs(
            Self::sum,
            &[
                ("==", Operator::Equal),
                ("!=", Operator::Unequal),
                ("<", Operator::Less),
                ("<=", Operator::AtMost),
                (">", Operator::More),
                (">=", Operator::AtLeast),
                ("in", Operator::In),
            ],
        )
    }

    fn sum(&mut self) -> Read<Deep> {
        self.pairs(Self::product, &[("+", Operator::Plus), ("-", Operator::Minus)])
    }

    fn product(&mut self) -> Read<Deep> {
        self.pairs(Self::unary, &[("*", Operator::Times), ("/", Operator::Over), ("%", Operator::Modulo)])
    }

    /// Operators of one rank, from the left.
    fn pairs(&mut self, part: fn(&mut Self) -> Read<Deep>, operators: &[(&str, Operator)]) -> Read<Deep> {
        let mut left = part(self)?;
        loop {
            let next = match self.peek() {
                Token::Sign(sign) => *sign,
                Token::Name(word) if word == "in" => "in",
                _ => return Ok(left),
            };
            let Some((_, operator)) = operators.iter().find(|(sign, _)| *sign == next) else {
                return Ok(left);
            };
            self.next += 1;
            let right = part(self)?;
            let depths = [left.1, right.1];
            left = self.over(Node::Pair(*operator, Box::new([left.0, right.0])), &depths)?;
        }
    }

    /// Signs before a value; two of a kind cancel each other out.
    fn unary(&mut self) -> Read<Deep> {
        let mut count = 0usize;
        let sign = if matches!(self.peek(), Token::Sign("!")) { "!" } else { "-" };
        while !self.is_negative_number() && self.takes(sign) {
            count += 1;
        }
        let (node, depth) = self.member()?;
        let node = Box::new(node);
        match (count.is_multiple_of(2), sign) {
            (true, _) => Ok((*node, depth)),
            (false, "!") => self.over(Node::Not(node), &[depth]),
            (false, _) => self.over(Node::Minus(node), &[depth]),
        }
    }

    /// Whether a sign comes that belongs to a number.
    fn is_negative_number(&self) -> bool {
        matches!((self.peek(), self.peek_behind()), (Token::Sign("-"), Token::Int(_) | Token::Double(_)))
    }

    /// A value with its members: `a.b`, `a.b()`, `a[b]`.
    fn member(&mut self) -> Read<Deep> {
        let (mut node, mut depth) = self.primary()?;
        loop {
            if self.takes(".") {
                let start = self.at();
                let name = match self.take() {
                    Token::Name(name) if !WORDS.contains(&&*name) => name,
                    Token::Quoted(name) => name,
                    _ => return Err(ExpressionError { at: start, why: "a name is missing".to_owned() }),
                };
                if self.takes("(") {
                    let (arguments, inner) = self.list(")")?;
                    let all = std::iter::once(node).chain(arguments).collect();
                    let call = call::method(&name, all);
                    (node, depth) = self.called(call, start, depth.max(inner))?;
                } else {
                    (node, depth) = self.over(Node::Member(Box::new(node), name.into()), &[depth])?;
                }
            } else if self.takes("[") {
                let (index, inner) = self.expression()?;
                self.expect("]")?;
                (node, depth) = self.over(Node::Index(Box::new([node, index])), &[depth, inner])?;
            } else if matches!(self.peek(), Token::Sign("{")) {
                return self.error("messages cannot be made here");
            } else {
                return Ok((node, depth));
            }
        }
    }

    fn called(&self, call: Result<Node, String>, at: usize, depth: usize) -> Read<Deep> {
        self.over(call.map_err(|why| ExpressionError { at, why })?, &[depth])
    }

    fn primary(&mut self) -> Read<Deep> {
        let start = self.at();
        let literal = |value| Ok((Node::Literal(value), 1));
        match self.take() {
            Token::Int(value) => match i64::try_from(value) {
                Ok(value) => literal(Value::Int(value)),
                Err(_) => Err(ExpressionError { at: start, why: "the number is too large".to_owned() }),
            },
            Token::Sign("-") => match self.take() {
                Token::Double(value) => literal(Value::Double(-value)),
                Token::Int(value) if value <= i64::MIN.unsigned_abs() => {
                    literal(Value::Int(value.wrapping_neg().cast_signed()))
                }
                _ => Err(ExpressionError { at: start, why: "a number is missing, or too large".to_owned() }),
            },
            Token::Uint(value) => literal(Value::Uint(value)),
            Token::Double(value) => literal(Value::Double(value)),
            Token::Text(text) => literal(Value::Text(text.into_bytes().into())),
            Token::Bytes(bytes) => literal(Value::Bytes(bytes.into())),
            Token::Sign("(") => {
                let (node, depth) = self.expression()?;
                self.expect(")")?;
                self.over(node, &[depth])
            }
            Token::Sign("[") => {
                let (nodes, depth) = self.list("]")?;
                self.over(Node::List(nodes), &[depth])
            }
            Token::Sign("{") => self.map(),
            Token::Sign(".") => match self.take() {
                Token::Name(name) => self.named(name, start),
                _ => Err(ExpressionError { at: start, why: "a name is missing".to_owned() }),
            },
            Token::Name(name) => self.named(name, start),
            Token::End => Err(ExpressionError { at: start, why: "ends where a value is missing".to_owned() }),
            _ => Err(ExpressionError { at: start, why: "a value is missing".to_owned() }),
        }
    }

    /// Values with commas between them, up to `end`; another comma may stand behind the last one of a list.
    fn list(&mut self, end: &str) -> Read<(Vec<Node>, usize)> {
        let (mut nodes, mut deepest) = (Vec::new(), 0);
        if self.takes(end) {
            return Ok((nodes, deepest));
        }
        loop {
            let (node, depth) = self.expression()?;
            nodes.push(node);
            deepest = deepest.max(depth);
            if !self.takes(",") {
                self.expect(end)?;
                return Ok((nodes, deepest));
            }
            if end == "]" && self.takes(end) {
                return Ok((nodes, deepest));
            }
        }
    }

    fn map(&mut self) -> Read<Deep> {
        let (mut entries, mut depths) = (Vec::new(), Vec::new());
        while !self.takes("}") {
            let (key, first) = self.expression()?;
            self.expect(":")?;
            let (value, second) = self.expression()?;
            entries.push([key, value]);
            depths.extend([first, second]);
            if !self.takes(",") {
                self.expect("}")?;
                break;
            }
        }
        self.over(Node::Map(entries), &depths)
    }

    /// What begins with a name.
    fn named(&mut self, name: String, start: usize) -> Read<Deep> {
        let fault = |why: String| Err(ExpressionError { at: start, why });
        match (&*name, self.peek()) {
            ("true", _) => return Ok((Node::Literal(Value::Bool(true)), 1)),
            ("false", _) => return Ok((Node::Literal(Value::Bool(false)), 1)),
            ("null", _) => return Ok((Node::Literal(Value::Null), 1)),
            ("in", _) => return fault("a value is missing".to_owned()),
            (name, _) if RESERVED.contains(&name) => return fault(format!("{name:?} is a reserved word")),
            ("has", Token::Sign("(")) => return self.has(),
            (name, Token::Sign("(")) => {
                self.next += 1;
                let (arguments, depth) = self.list(")")?;
                return self.called(call::function(name, arguments), start, depth);
            }
            ("re", Token::Sign(".")) if self.is_call_behind() => return self.regex_function(start),
            _ => {}
        }
        let node = match (Group::named(&name), Attribute::alone(&name), Kind::named(&name)) {
            (Some(group), ..) => Node::Group(group),
            (_, Some(attribute), _) => Node::Attribute(attribute),
            (.., Some(kind)) => Node::Literal(Value::Type(kind)),
            _ => {
                self.unset.push(name.into());
                Node::Unset
            }
        };
        Ok((node, 1))
    }

    /// Whether `.name(` comes.
    fn is_call_behind(&self) -> bool {
        matches!(self.peek_behind(), Token::Name(_))
            && matches!(self.tokens.get(self.next + 2), Some((Token::Sign("("), _)))
    }

    /// `re.extract(…)` and its like.
    fn regex_function(&mut self, start: usize) -> Read<Deep> {
        self.next += 1;
        let Token::Name(name) = self.take() else { return self.error("a name is missing") };
        self.expect("(")?;
        let (arguments, depth) = self.list(")")?;
        self.called(call::regex(&name, arguments), start, depth)
    }

    /// `has(a.b)`: whether there is such a member.
    fn has(&mut self) -> Read<Deep> {
        self.expect("(")?;
        let start = self.at();
        let (node, depth) = self.expression()?;
        self.expect(")")?;
        match node {
            Node::Member(of, name) => Ok((Node::Has(of, name), depth)),
            _ => Err(ExpressionError { at: start, why: "has() takes a member, such as a.b".to_owned() }),
        }
    }
}

/// What is found out of a tree while names in it are resolved.
struct Found {
    measured: bool,
    unset: Vec<Box<str>>,
}

impl Found {
    fn resolved(&mut self, node: Node) -> Node {
        match node {
            Node::Member(of, name) => match *of {
                Node::Group(group) => self.attribute(group, &name),
                of => Node::Member(Box::new(self.resolved(of)), name),
            },
            Node::Has(of, name) => {
                if let Node::Group(group) = *of
                    && let Some(attribute) = Attribute::named(group, &name)
                {
                    self.note(attribute, group, &name);
                }
                Node::Has(self.boxed(*of), name)
            }
            Node::Group(group) => {
                self.measured |= group.is_measured();
                Node::Group(group)
            }
            Node::Index(pair) => match *pair {
                [Node::Group(group), Node::Literal(Value::Text(name))] => {
                    self.attribute(group, &String::from_utf8_lossy(&name))
                }
                pair => Node::Index(Box::new(pair.map(|node| self.resolved(node)))),
            },
            Node::List(nodes) => Node::List(self.each(nodes)),
            Node::Map(entries) => {
                Node::Map(entries.into_iter().map(|entry| entry.map(|node| self.resolved(node))).collect())
            }
            Node::Not(of) => Node::Not(self.boxed(*of)),
            Node::Minus(of) => Node::Minus(self.boxed(*of)),
            Node::All(nodes) => Node::All(self.each(nodes)),
            Node::Any(nodes) => Node::Any(self.each(nodes)),
            Node::Pair(operator, pair) => {
                Node::Pair(operator, Box::new(pair.map(|node| self.resolved(node))))
            }
            Node::Choice(three) => Node::Choice(Box::new(three.map(|node| self.resolved(node)))),
            Node::Call(call, arguments) => Node::Call(call, self.each(arguments)),
            node @ (Node::Literal(_) | Node::Attribute(_) | Node::Unset) => node,
        }
    }

    fn boxed(&mut self, node: Node) -> Box<Node> {
        Box::new(self.resolved(node))
    }

    fn each(&mut self, nodes: Vec<Node>) -> Vec<Node> {
        nodes.into_iter().map(|node| self.resolved(node)).collect()
    }

    /// A group's attribute of this name.
    fn attribute(&mut self, group: Group, name: &str) -> Node {
        let Some(attribute) = Attribute::named(group, name) else {
            self.unset.push(format!("{}.{name}", group.name()).into());
            return Node::Unset;
        };
        self.note(attribute, group, name);
        Node::Attribute(attribute)
    }

    fn note(&mut self, attribute: Attribute, group: Group, name: &str) {
        self.measured |= attribute.is_measured();
        if attribute.is_unknown_here() {
            self.unset.push(format!("{}.{name}", group.name()).into());
        }
    }
}
