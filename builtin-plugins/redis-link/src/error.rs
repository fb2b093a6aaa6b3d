//! The error of a command.

use std::fmt;

use redis::RedisError;

/// The reason why a command has no reply.
#[derive(Debug)]
pub enum Error {
    /// The link has no connection.
    Away,
    /// The server did not answer within the timeout.
    TimedOut,
    /// The server refused the command, or the connection failed.
    Failed(RedisError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Away => f.write_str("redis is unavailable"),
            Error::TimedOut => f.write_str("redis did not answer in time"),
            Error::Failed(error) => write!(f, "redis: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Failed(error) => Some(error),
            Error::Away | Error::TimedOut => None,
        }
    }
}
