//! A call that is written down: `sum 1 2 3`. What a debugger or a shell needs, and no stub does.

use std::fmt;
use std::io::{self, ErrorKind};
use std::str::FromStr;

use crate::client::Client;
use crate::error::RpcError;

/// A procedure and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `sum N…`
    Sum(Vec<i64>),
    /// `divide N N`
    Divide(i64, i64),
    /// `stats`
    Stats,
}

impl Call {
    /// Calls it, and writes the result down too.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub fn run(&self, client: &mut Client) -> Result<String, RpcError> {
        Ok(match self {
            Call::Sum(numbers) => client.sum(numbers)?.to_string(),
            Call::Divide(dividend, divisor) => client.divide(*dividend, *divisor)?.to_string(),
            Call::Stats => client.stats()?.to_string(),
        })
    }
}

impl FromStr for Call {
    type Err = io::Error;

    /// # Errors
    /// [`ErrorKind::InvalidInput`], with a list of what there is.
    fn from_str(text: &str) -> io::Result<Call> {
        let wrong = |why: String| io::Error::new(ErrorKind::InvalidInput, why);
        let mut words = text.split_whitespace();
        let procedure = words.next().unwrap_or_default();
        let numbers: Result<Vec<i64>, _> = words
            .map(|w| {
                w.parse().map_err(|e| wrong(format!("{procedure}: {w:?} is not a number of 64 bits: {e}")))
            })
            .collect();
        match (procedure, numbers?.as_slice()) {
            ("sum", numbers) => Ok(Call::Sum(numbers.to_vec())),
            ("divide", &[dividend, divisor]) => Ok(Call::Divide(dividend, divisor)),
            ("stats", []) => Ok(Call::Stats),
            ("put", _) => Err(wrong("put takes an item: it is called for each, without --call".into())),
            _ => Err(wrong(format!("no such call: {text}; there are: sum N…, divide N N, stats"))),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Sum(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
                write!(f, "sum({})", numbers.join(", "))
            }
            Call::Divide(dividend, divisor) => write!(f, "divide({dividend}, {divisor})"),
            Call::Stats => f.write_str("stats()"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_called() {
        assert_eq!("sum 1 -2 3".parse::<Call>().unwrap(), Call::Sum(vec![1, -2, 3]));
        assert_eq!("sum".parse::<Call>().unwrap(), Call::Sum(vec![]));
        assert_eq!("divide 7 0".parse::<Call>().unwrap(), Call::Divide(7, 0));
        for wrong in ["", "nosuch", "divide 7", "sum x", "sum 9223372036854775808", "stats 1", "put x"] {
            let e = wrong.parse::<Call>().unwrap_err();
            assert_eq!(e.kind(), ErrorKind::InvalidInput, "{wrong}");
        }
    }
}
