//! The wait for the reply to one call, which is cancelled if the wait is dropped (rule I4).

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::oneshot, time::sleep};

use super::{
    announced::Sent,
    connection::{Connection, KILLED, Unsent},
};
use crate::pipeline::kind::Failure;

/// Time that a child has to confirm the end of a call.
pub(super) const CONFIRMATION: Duration = Duration::from_secs(1);

/// Waits for the reply to a call.
pub(super) async fn received(
    connection: &Arc<Connection>,
    number: u64,
    reply: oneshot::Receiver<Bytes>,
    deadline: Duration,
) -> Result<Bytes, Failure> {
    let guard = CancelOnDrop { connection, number, deadline };
    let received = reply.await;
    std::mem::forget(guard);
    received.map_err(|_| connection.crashed())
}

/// Cancels calls whose turn does not come.
pub(super) fn cancel(connection: &Arc<Connection>, calls: VecDeque<Sent>) {
    for Sent { number, limit, .. } in calls {
        drop(CancelOnDrop { connection, number, deadline: limit });
    }
}

/// Returns the failure of a call that was not sent.
pub(super) fn unsent_failure(connection: &Connection, unsent: Unsent) -> Failure {
    match unsent {
        Unsent::Dead => connection.crashed(),
        Unsent::Refused(why) => Failure::error(why),
    }
}

/// Cancels a call that is dropped. The child is killed if it does not confirm within a second after the time limit of the
/// hook: it may be in an endless loop.
struct CancelOnDrop<'c> {
    connection: &'c Arc<Connection>,
    number: u64,
    /// The rest of the hook's time when the call was sent.
    deadline: Duration,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        let (connection, number) = (self.connection, self.number);
        if !connection.cancel(number) {
            return;
        }
        let (connection, limit) = (connection.clone(), self.deadline + CONFIRMATION);
        connection.clone().services.spawn(async move {
            sleep(limit).await;
            if connection.is_under_way(number) {
                connection.condemn(KILLED, "a hook did not end within a second after it was cancelled");
            }
        });
    }
}
