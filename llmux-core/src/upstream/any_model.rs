//! Providers that serve any model: names that no other provider lists, and that their own list has (rule F10).
//!
//! `router` asks for the deployments of a name that the configuration does not have. Such deployments are made for one
//! request; what is known of a provider is kept. A request takes a lock only while a list is missing or too old.

use std::{
    collections::HashSet,
    fmt, ptr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::{sync::Mutex, time::Instant};

use super::deployment::{Added, Deployment, MAX_WEIGHT, Member, OfModel};
use crate::provider::Provider;

/// The name of a model that stands for every name.
pub(crate) const ANY: &str = "*";

/// Time for which the list of a provider is kept.
const KEPT: Duration = Duration::from_secs(300);
/// Time after which a list is asked for again if the provider did not answer.
const AGAIN: Duration = Duration::from_secs(30);

/// The providers that serve any model.
#[derive(Debug, Default)]
pub(super) struct AnyModels {
    members: Vec<AnyModel>,
    /// Number of requests so far.
    next: AtomicUsize,
}

/// One of them.
#[derive(Debug)]
struct AnyModel {
    /// The member that stands for all models, for lists and metrics: `provider/*`.
    all: Member,
    list: Arc<ModelList>,
}

/// The models that a provider lists.
#[derive(Default)]
struct ModelList {
    last: ArcSwapOption<Fetched>,
    /// Held while the list is asked for.
    asking: Mutex<()>,
}

/// A list as it was fetched.
struct Fetched {
    /// `None` if the provider has no list: then it serves every name.
    names: Option<HashSet<String>>,
    until: Instant,
}

impl fmt::Debug for ModelList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ModelList")
    }
}

impl AnyModels {
    /// Makes them. Of a provider that is the same object as in `previous`, the record and the list are kept.
    pub(super) fn new(added: Vec<Added>, previous: Option<&Self>) -> Self {
        let of = |Added { provider_name, provider, config }: Added| {
            let same = |any: &&AnyModel| {
                ptr::addr_eq(Arc::as_ptr(&any.all.deployment.provider), Arc::as_ptr(&provider))
            };
            let kept = previous.and_then(|previous| previous.members.iter().find(same));
            let list = kept.map(|any| any.list.clone()).unwrap_or_default();
            let record = kept.map(|any| any.all.deployment.record.clone()).unwrap_or_default();
            let id = format!("{provider_name}/{ANY}").into();
            let deployment = Deployment { id, provider_name, upstream_model: ANY.into(), provider, record };
            let all = Member {
                deployment: Arc::new(deployment),
                weight: config.weight.clamp(1, MAX_WEIGHT),
                order: config.order,
            };
            AnyModel { all, list }
        };
        Self { members: added.into_iter().map(of).collect(), next: AtomicUsize::new(0) }
    }

    /// Returns the members that stand for all models.
    pub(super) fn all(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().map(|any| &any.all)
    }

    /// Returns the deployments of a model; `None` if no provider serves it.
    pub(super) async fn of(&self, model: &str) -> Option<OfModel> {
        let mut members = Vec::new();
        for any in &self.members {
            let Deployment { provider_name, provider, .. } = &*any.all.deployment;
            let fetched = any.list.current(&**provider, provider_name).await;
            let Some(deployment) = any.serving(model, fetched.as_deref()) else { continue };
            members.push(Member { deployment, weight: any.all.weight, order: any.all.order });
        }
        (!members.is_empty()).then(|| OfModel::new(members, self.next.fetch_add(1, Relaxed)))
    }

    /// Returns the deployment of a model at a provider, by its last list. `None` if the provider does not serve it.
    pub(super) fn at_provider(&self, model: &str, provider_name: &str) -> Option<Arc<Deployment>> {
        let any = self.members.iter().find(|any| *any.all.deployment.provider_name == *provider_name)?;
        any.serving(model, any.list.last.load().as_deref())
    }

    /// Returns a deployment by its id, with its model. The lists are not asked: the provider had the model once.
    pub(super) fn find<'i>(&self, id: &'i str) -> Option<(&'i str, Arc<Deployment>)> {
        self.members.iter().find_map(|any| {
            let model = id.strip_prefix(&*any.all.deployment.provider_name)?.strip_prefix('/')?;
            Some((model, any.deployment(id.into(), model)))
        })
    }

    /// Returns the names that the providers list, each with the provider.
    pub(super) async fn listed(&self) -> Vec<(String, Arc<str>)> {
        let mut listed = Vec::new();
        for any in &self.members {
            let Deployment { provider_name, provider, .. } = &*any.all.deployment;
            let fetched = any.list.current(&**provider, provider_name).await;
            let names = fetched.as_ref().and_then(|fetched| fetched.names.as_ref());
            let mut names: Vec<&String> = names.into_iter().flatten().collect();
            names.sort_unstable();
            listed.extend(names.into_iter().map(|name| (name.clone(), provider_name.clone())));
        }
        listed
    }
}

impl AnyModel {
    /// Returns the deployment of a model; `None` if the provider's list does not have it.
    fn serving(&self, model: &str, fetched: Option<&Fetched>) -> Option<Arc<Deployment>> {
        let Deployment { id, provider_name, .. } = &*self.all.deployment;
        let id = match fetched.and_then(|fetched| fetched.names.as_ref()) {
            Some(names) if !names.contains(model) => return None,
            Some(_) => format!("{provider_name}/{model}").into(),
            // Clients choose these names, so metrics have one name for them.
            None => id.clone(),
        };
        Some(self.deployment(id, model))
    }

    fn deployment(&self, id: Arc<str>, model: &str) -> Arc<Deployment> {
        let Deployment { provider_name, provider, record, .. } = &*self.all.deployment;
        let (provider_name, upstream_model) = (provider_name.clone(), model.into());
        let (provider, record) = (provider.clone(), record.clone());
        Arc::new(Deployment { id, provider_name, upstream_model, provider, record })
    }
}

impl ModelList {
    /// Returns the list, and asks for it if it is missing or too old. `None` if it was never there.
    async fn current(&self, provider: &dyn Provider, name: &str) -> Option<Arc<Fetched>> {
        let is_fresh =
            |last: &Option<Arc<Fetched>>| last.as_ref().is_some_and(|fetched| Instant::now() < fetched.until);
        let last = self.last.load_full();
        if is_fresh(&last) {
            return last;
        }
        let _asking = match self.asking.try_lock() {
            Ok(asking) => asking,
            // Another request asks. An older list is good enough.
            Err(_) if last.is_some() => return last,
            Err(_) => self.asking.lock().await,
        };
        let last = self.last.load_full();
        if is_fresh(&last) {
            return last;
        }
        let fetched = match provider.models().await {
            Ok(names) => {
                let names = names.map(|names| names.into_iter().collect());
                Fetched { names, until: Instant::now() + KEPT }
            }
            Err(error) => {
                tracing::warn!(provider = name, "the list of models could not be read: {error}");
                let names = last.as_ref().and_then(|last| last.names.clone());
                Fetched { names, until: Instant::now() + AGAIN }
            }
        };
        self.last.store(Some(Arc::new(fetched)));
        self.last.load_full()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Mutex};

    use futures_util::future::BoxFuture;

    use super::*;
    use crate::{
        document::Document,
        error::{Error, ErrorKind},
        provider::{Answer, Call, Events},
        upstream::DeploymentConfig,
    };

    type Listed = Result<Option<Vec<String>>, Error>;

    /// A provider that answers with these lists, one after the other.
    struct Lists(Mutex<VecDeque<Listed>>);

    impl Provider for Lists {
        fn send(&self, _: Call) -> BoxFuture<'_, Result<Answer<Document>, Error>> {
            Box::pin(std::future::pending())
        }

        fn stream(&self, _: Call) -> BoxFuture<'_, Result<Answer<Events>, Error>> {
            Box::pin(std::future::pending())
        }

        fn models(&self) -> BoxFuture<'_, Listed> {
            let next = self.0.lock().unwrap().pop_front().expect("no more lists are asked for");
            Box::pin(std::future::ready(next))
        }
    }

    fn of_lists(lists: impl IntoIterator<Item = Listed>) -> AnyModels {
        let provider = Arc::new(Lists(Mutex::new(lists.into_iter().collect())));
        let config = DeploymentConfig::new(ANY);
        AnyModels::new(vec![Added { provider_name: "p".into(), provider, config }], None)
    }

    fn list(names: &[&str]) -> Listed {
        Ok(Some(names.iter().map(|name| (*name).to_owned()).collect()))
    }

    async fn served(any: &AnyModels, model: &str) -> Option<(String, String)> {
        let of = any.of(model).await?;
        let deployment = &of.members[0].deployment;
        Some((deployment.id.to_string(), deployment.upstream_model.to_string()))
    }

    #[tokio::test(start_paused = true)]
    async fn f10_the_list_of_a_provider_is_kept_for_five_minutes_and_longer_if_there_is_no_other() {
        let down = || Err(Error::new(ErrorKind::Connect, "down"));
        let any = of_lists([list(&["a"]), down(), list(&["b"])]);
        assert_eq!(served(&any, "a").await, Some(("p/a".into(), "a".into())));
        assert_eq!(served(&any, "b").await, None);
        tokio::time::advance(KEPT - Duration::from_secs(1)).await;
        assert!(served(&any, "a").await.is_some(), "kept");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(served(&any, "a").await.is_some(), "the last list, since the provider is down");
        assert_eq!(served(&any, "b").await, None);
        tokio::time::advance(AGAIN).await;
        assert_eq!(served(&any, "a").await, None);
        assert!(served(&any, "b").await.is_some(), "the new list");
        assert_eq!(any.listed().await, [("b".to_owned(), "p".into())]);
    }

    #[tokio::test(start_paused = true)]
    async fn f10_a_provider_without_a_list_serves_every_name_under_one_label() {
        for lists in [Ok(None), Err(Error::new(ErrorKind::Connect, "down"))] {
            let any = of_lists([lists]);
            for name in ["a", "b"] {
                assert_eq!(served(&any, name).await, Some(("p/*".into(), name.into())));
            }
            assert_eq!(any.listed().await, []);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn f10_a_reload_keeps_the_list_and_the_record() {
        let provider: Arc<dyn Provider> = Arc::new(Lists(Mutex::new([list(&["a"])].into())));
        let added = || {
            let config = DeploymentConfig::new(ANY);
            vec![Added { provider_name: "p".into(), provider: provider.clone(), config }]
        };
        let before = AnyModels::new(added(), None);
        assert!(served(&before, "a").await.is_some());
        let after = AnyModels::new(added(), Some(&before));
        assert!(served(&after, "a").await.is_some(), "without another list");
        let record = |any: &AnyModels| any.members[0].all.deployment.record.clone();
        assert!(Arc::ptr_eq(&record(&before), &record(&after)));
    }
}
