//! What stands behind the question mark of an address.

use std::str::FromStr;

use super::errors::{Problem, Result};

/// Parameters of an address, in order.
#[derive(Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn new(query: Option<&str>) -> Self {
        let pairs = query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decoded(name), decoded(value))
                })
                .collect(),
        )
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// A parameter of a type; `wanted` says what it must be.
    pub fn get<T: FromStr>(&self, name: &str, wanted: &str) -> Result<Option<T>> {
        self.text(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    let shown: String = text.chars().take(40).collect();
                    Problem::validation(format!("{name} is {shown:?}; it must be {wanted}."))
                })
            })
            .transpose()
    }
}

/// `%41` and `+` as what they stand for; what is no UTF-8 then is replaced.
pub fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let hex = |digits: &[u8]| Some((digit(digits[0])? << 4 | digit(digits[1])?) as u8);
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => match after.get(..2).and_then(hex) {
                Some(byte) => {
                    bytes.push(byte);
                    rest = &after[2..];
                }
                None => bytes.push(b'%'),
            },
            other => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_decoded() {
        let query = Query::new(Some("a=1&b=x%20y+z&c&d=%zz%f&start=1.5&f=%+f%aF"));
        assert_eq!(query.text("b"), Some("x y z"));
        assert_eq!(
            (query.text("c"), query.text("d"), query.text("e")),
            (Some(""), Some("%zz%f"), None)
        );
        assert_eq!(query.text("f"), Some("% f\u{fffd}"));
        assert_eq!(query.get::<f64>("start", "seconds").unwrap(), Some(1.5));
        let problem = query.get::<usize>("b", "a whole number").unwrap_err();
        assert_eq!(problem.message, "b is \"x y z\"; it must be a whole number.");
    }
}
