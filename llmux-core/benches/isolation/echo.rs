//! A bare round trip: some bytes to another process and back, over a socket of the kind that a child has.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Command},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use tokio::{io::AsyncReadExt, net::unix::OwnedWriteHalf, sync::oneshot};

use super::figures::{cpu, median};

/// Bytes of a bare round trip.
const TRIP: [u8; 64] = [0; 64];

/// Another process that sends back all that it reads.
pub(crate) struct Echo {
    process: Child,
    socket: OwnedWriteHalf,
    waiting: Mutex<VecDeque<oneshot::Sender<()>>>,
}

impl Echo {
    /// Argument of the other process.
    pub(crate) const ARGUMENT: &str = "--echo";

    pub(crate) async fn start() -> Arc<Self> {
        let (socket, of_child) = UnixStream::pair().expect("a pair of sockets");
        let program = std::env::current_exe().expect("the path of this program");
        let process = Command::new(program).arg(Self::ARGUMENT).stdin(OwnedFd::from(of_child)).spawn();
        let process = process.expect("a process");
        socket.set_nonblocking(true).expect("a socket");
        let socket = tokio::net::UnixStream::from_std(socket).expect("a socket");
        socket.writable().await.expect("a socket");
        let (mut read, socket) = socket.into_split();
        let echo = Arc::new(Self { process, socket, waiting: Mutex::default() });
        let trips = echo.clone();
        tokio::spawn(async move {
            let (mut buffer, mut length) = (vec![0; 64 * 1024], 0);
            while let Ok(more @ 1..) = read.read(&mut buffer).await {
                length += more;
                while length >= TRIP.len() {
                    length -= TRIP.len();
                    let waiting = trips.waiting.lock().expect("no panic").pop_front();
                    waiting.expect("a trip").send(()).expect("it waits");
                }
            }
        });
        echo
    }

    /// Sends some bytes, and waits until they are back.
    async fn trip(&self) {
        let (sender, back) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock().expect("no panic");
            waiting.push_back(sender);
            self.socket.try_write(&TRIP).expect("room for some bytes");
        }
        back.await.expect("a process that answers");
    }

    /// Makes trips, one after the other. Returns the 50th percentile in microseconds.
    pub(crate) async fn one_by_one(&self, trips: usize) -> f64 {
        let mut times = Vec::new();
        for _ in 0..trips {
            let start = Instant::now();
            self.trip().await;
            times.push(start.elapsed().as_nanos() as f64 / 1000.0);
        }
        median(times)
    }

    /// Makes trips, some at once. Returns the time of the processor of both processes for each.
    pub(crate) async fn at_once(self: &Arc<Self>, trips: usize, in_flight: usize) -> Duration {
        let before = cpu(Some(self.process.id()));
        let tasks = (0..in_flight).map(|_| {
            let echo = self.clone();
            tokio::spawn(async move {
                for _ in 0..trips / in_flight {
                    echo.trip().await;
                }
            })
        });
        try_join_all(tasks).await.expect("tasks that end");
        (cpu(Some(self.process.id())) - before) / trips as u32
    }

    /// Runs the other process.
    pub(crate) fn run() {
        let (mut input, mut buffer) = (std::io::stdin().lock(), vec![0; 64 * 1024]);
        // The standard input is a socket: it takes what is written.
        let output = rustix::io::dup(rustix::stdio::stdin()).map(UnixStream::from);
        let mut output = output.expect("a socket");
        while let Ok(length @ 1..) = input.read(&mut buffer) {
            output.write_all(&buffer[..length]).expect("a process that reads");
        }
    }
}
