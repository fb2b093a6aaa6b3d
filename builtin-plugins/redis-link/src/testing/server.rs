//! A Redis server or a sentinel, as a process. Dropping the [`RedisServer`] kills it.
//!
//! The server writes nothing to disk, except a file about its cluster or its sentinel.

use std::{
    env,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A Redis server, running or killed.
pub struct RedisServer {
    port: u16,
    /// The file of a sentinel.
    file: Option<PathBuf>,
    options: Vec<String>,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    ///
    /// If `redis-server` cannot be run, or does not answer within 5 s.
    pub fn start() -> io::Result<Self> {
        Self::start_with(&[])
    }

    /// Starts a server with these options, such as `["--requirepass", "secret"]`.
    ///
    /// # Errors
    ///
    /// The errors of [`start`](Self::start).
    pub fn start_with(options: &[&str]) -> io::Result<Self> {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Self { port: free_port()?, file: None, options, child: None };
        server.restart()?;
        Ok(server)
    }

    /// Starts a sentinel with this file, which the sentinel writes to.
    ///
    /// # Errors
    ///
    /// The errors of [`start`](Self::start).
    pub fn start_sentinel(file: &Path) -> io::Result<Self> {
        let options = vec!["--sentinel".to_owned()];
        let mut server = Self { port: free_port()?, file: Some(file.to_owned()), options, child: None };
        server.restart()?;
        Ok(server)
    }

    /// Returns the port of the server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends a command on a connection of its own. Returns the reply as the server wrote it.
    ///
    /// # Errors
    ///
    /// If the server does not answer within 5 s.
    pub fn command(&self, words: &[&str]) -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let words = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
        let words: Vec<String> = words.collect();
        stream.write_all(format!("*{}\r\n{}", words.len(), words.concat()).as_bytes())?;
        // The replies that tests read fit into one packet.
        let mut reply = [0; 16_384];
        let bytes = stream.read(&mut reply)?;
        Ok(String::from_utf8_lossy(&reply[..bytes]).into_owned())
    }

    /// Stops the process of the server, which keeps its connections, until [`resume`](Self::resume).
    ///
    /// # Errors
    ///
    /// If the signal cannot be sent.
    pub fn pause(&self) -> io::Result<()> {
        self.signal("-STOP")
    }

    /// Lets a stopped server run on.
    ///
    /// # Errors
    ///
    /// If the signal cannot be sent.
    pub fn resume(&self) -> io::Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> io::Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        Command::new("kill").args([signal, &child.id().to_string()]).status().map(drop)
    }

    /// Returns the URL of the server.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Kills the server without a shutdown, like a crash.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts the server again on the same port, without data.
    ///
    /// # Errors
    ///
    /// The errors of [`start`](Self::start).
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill();
        let port = self.port.to_string();
        let program = env::var("LLMUX_TEST_REDIS").unwrap_or_else(|_| "redis-server".to_owned());
        let child = Command::new(&program)
            .args(&self.file)
            .args(["--bind", "127.0.0.1", "--port", &port])
            .args(if self.file.is_none() { &["--save", "", "--appendonly", "no"][..] } else { &[] })
            .args(&self.options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                let package = "it is in the Debian package `redis-server`";
                io::Error::new(error.kind(), format!("`{program}` cannot be run ({error}); {package}"))
            })?;
        self.child = Some(child);
        let started = Instant::now();
        while !self.answers() {
            if started.elapsed() > Duration::from_secs(5) {
                return Err(io::Error::other("the server does not answer"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Returns true if the server answers a `PING`. An open connection proves nothing: the kernel accepts connections
    /// before the server does, and a socket may even connect to itself.
    fn answers(&self) -> bool {
        let ping = || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"PING\r\n")?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer)?;
            // A server with a password answers that it needs one.
            io::Result::Ok(answer == *b"+PONG" || answer == *b"-NOAU")
        };
        ping().unwrap_or(false)
    }
}

/// Returns a port that no program uses.
///
/// # Errors
///
/// If there is none.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
