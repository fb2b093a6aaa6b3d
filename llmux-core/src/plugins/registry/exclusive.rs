//! Replaces exclusive instances: those whose plugin holds something that cannot be held twice, such as a lock or a port
//! (rule D4, `reload = "exclusive"` in the manifest).
//!
//! `apply` calls it when everything else of a change is staged. New requests wait at the entrance; when no request holds
//! the old instance any more, it is cleaned up, and the new one is made. If that fails, the old one is made again. From the
//! first cleanup on, the caller's task must not be dropped: `apply` runs this in a task of its own.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant as Time, timeout_at};

use super::{Registry, entrance::Hold, instance::Instance, retire::Unloaded, stage::Stage, staged::Staged};
use crate::plugins::report::error::PluginError;

/// The reason of a call that no request can make: the entrance is held.
const REPLACED: &str = "it is being replaced";

impl Registry {
    /// Makes the named instances of a staged change, each after its old one is gone. New requests wait until the returned
    /// value is dropped. After an error, the old instances run.
    pub(super) async fn replace(
        &self,
        stage: &mut Stage,
        staged: &mut Staged,
        names: Vec<String>,
    ) -> Result<Hold<'_>, PluginError> {
        let held = self.hold()?;
        let wait = stage.settings.plugins.exclusive_wait;
        if let Err((name, error)) = self.wait_for_requests(staged, &names, wait).await {
            self.tell_not_replaced(staged, &name, &error);
            return Err(error);
        }
        // The old instances so far, without their hooks.
        let mut gone: Vec<Instance> = Vec::new();
        for name in &names {
            gone.extend(self.vacate(staged, name).await?);
            let Some(new) = staged.instances.iter_mut().find(|instance| instance.name() == name) else {
                continue;
            };
            match stage.construct(new.clone(), None).await {
                Ok(made) => *new = made,
                Err(error) => {
                    let error = self.restore(stage, staged, gone, error).await;
                    self.tell_not_replaced(staged, name, &error);
                    return Err(error);
                }
            }
        }
        Ok(held)
    }

    /// Waits until no request holds the instances. Returns the first that is held for too long.
    async fn wait_for_requests(
        &self,
        staged: &Staged,
        names: &[String],
        wait: Duration,
    ) -> Result<(), (String, PluginError)> {
        let deadline = Time::now() + wait;
        let mut turns = self.turns.subscribe();
        for name in names {
            let Some(old) = staged.before.iter().find(|old| old.name() == name) else { continue };
            let lease = Arc::downgrade(&old.entry.lease);
            tokio::select! {
                released = timeout_at(deadline, self.retirement.released(&lease)) => if released.is_err() {
                    return Err((name.clone(), PluginError::InstanceInUse { name: name.clone(), wait }));
                },
                _ = turns.wait_for(|()| self.alive().is_none()) => {
                    return Err((name.clone(), PluginError::PipelineClosed));
                }
            }
        }
        Ok(())
    }

    /// Takes an instance out of every list, and cleans it up. Returns it without its hooks.
    async fn vacate(&self, staged: &mut Staged, name: &str) -> Result<Option<Instance>, PluginError> {
        let find = |instances: &[Instance]| instances.iter().position(|instance| instance.name() == name);
        let Some(at) = find(&staged.before) else { return Ok(None) };
        let vacant = staged.before[at].vacant(REPLACED);
        let old = std::mem::replace(&mut staged.before[at], vacant.clone());
        if let Some(at) = find(&staged.instances) {
            staged.instances[at] = staged.instances[at].vacant(REPLACED);
        }
        if let Some(it) = self.instances().iter_mut().find(|it| it.name() == name) {
            *it = vacant.clone();
        }
        self.end(old).await;
        // A shutdown makes nothing anew.
        if self.alive().is_none() { Err(PluginError::PipelineClosed) } else { Ok(Some(vacant)) }
    }

    /// Waits until an instance is cleaned up. One that does not end in time is reported, and not waited for.
    async fn end(&self, instance: Instance) {
        let name = instance.name().to_owned();
        if let Some(number) = self.retirement.begin(instance)
            && self.retirement.ended(number).await == Unloaded::Draining
        {
            tracing::warn!(
                instance = name,
                "the old instance does not end; it may still hold what the next one needs"
            );
        }
    }

    /// Makes the old instances again, after an error. Those that cannot be made are failed from now on.
    async fn restore(
        &self,
        stage: &mut Stage,
        staged: &mut Staged,
        gone: Vec<Instance>,
        error: PluginError,
    ) -> PluginError {
        stage.settings = self.settings.load_full();
        let mut lost = Vec::new();
        for old in gone.into_iter().rev() {
            let name = old.name().to_owned();
            // The new one may have been made before another failed.
            if let Some(new) = staged.instances.iter_mut().find(|new| new.name() == name) {
                let vacant = new.vacant(REPLACED);
                self.end(std::mem::replace(new, vacant)).await;
            }
            let instance = match stage.construct(old.clone(), None).await {
                Ok(again) => {
                    tracing::warn!(
                        instance = name,
                        "the old instance was made again, because the change failed"
                    );
                    again
                }
                Err(error) => {
                    let why = error.to_string();
                    tracing::error!(instance = name, "the instance has failed: {why}");
                    let failed = Instance { failed: Some(why.as_str().into()), ..old.vacant(&why) };
                    lost.push(why);
                    failed
                }
            };
            let mut instances = self.instances();
            match instances.iter_mut().find(|it| it.name() == name) {
                Some(it) => *it = instance,
                // The pipeline was shut down meanwhile.
                None => drop(self.retirement.begin(instance)),
            }
        }
        match lost.join(", ") {
            lost if lost.is_empty() => error,
            lost => PluginError::NotRestored { error: Box::new(error), lost },
        }
    }

    /// Reports that an instance was not made anew, with the edition that runs and the file that was tried.
    fn tell_not_replaced(&self, staged: &Staged, name: &str, error: &PluginError) {
        let find = |instances: &[Instance]| instances.iter().find(|it| it.name() == name).cloned();
        let (old, new) = (find(&staged.before), find(&staged.instances));
        let tried = new.and_then(|new| new.pending).and_then(|pending| pending.tried);
        if let Some(tried) = &tried {
            self.refusals().note(tried, error);
        }
        let attempted = if tried.is_some() { "reload" } else { "update" };
        self.tell_refused(attempted, name.to_owned(), old.as_ref(), tried.as_deref(), error);
    }
}
