//! Gives every user a number of tokens for a period, and refuses requests of users without tokens left.
//!
//! The plugin charges a request when it is over, with the tokens that the provider counted. The request that exceeds
//! the budget therefore still passes. The accounts are in memory: each host has its own, and a restart clears them.
//!
//! `config = { tokens = 100_000, period_seconds = 86_400 }`
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use llmux_abi::{Counter, prelude::*};

/// The configuration.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Number of tokens of each user in a period, prompts and responses together.
    tokens: u64,
    /// Length of a period, in seconds. It starts with a user's first request.
    #[serde(default = "a_day")]
    period_seconds: u64,
}

fn a_day() -> u64 {
    24 * 60 * 60
}

/// Tokens that a user has spent, and the start of the period.
#[derive(Default)]
struct Account {
    spent: u64,
    since: Duration,
}

/// Number of accounts from which the plugin removes accounts whose period is over.
const MANY: usize = 10_000;

/// Gives every user a number of tokens for a period.
pub struct Budget {
    tokens: u64,
    period: Duration,
    host: Host,
    charged: Counter,
    accounts: Mutex<HashMap<String, Account>>,
}

impl Plugin for Budget {
    type Config = Config;

    fn new(config: Config, host: Host) -> Result<Self> {
        let charged = host.counter("budget_tokens_charged_total", "Tokens charged", &["user"])?;
        let period = Duration::from_secs(config.period_seconds);
        Ok(Self { tokens: config.tokens, period, host, charged, accounts: Mutex::default() })
    }

    async fn pre_hook(&self, ctx: &mut Context<'_>, _request: &mut Request<'_>) -> Result<Flow> {
        let now = self.host.now();
        let (spent, ends) = match self.accounts().get(&user(ctx)) {
            Some(account) if now < account.since + self.period => {
                (account.spent, account.since + self.period)
            }
            _ => (0, now + self.period),
        };
        if spent >= self.tokens {
            let error = Error::rate_limited(format!("the budget of {} tokens is spent", self.tokens));
            let error = error.with_code("budget_exceeded").with_retry_after((ends - now).as_secs_f64());
            // All models share the budget, so a fallback would be refused too.
            return Ok(ShortCircuit::reject(error).with_allow_fallback(false).into());
        }
        ctx.set_response_header("x-budget-remaining", &(self.tokens - spent).to_string())?;
        Ok(Flow::Continue)
    }

    async fn on_complete(&self, ctx: &mut Context<'_>, completion: &Completion<'_>) {
        let Some(usage) = completion.usage() else { return };
        let (user, now) = (user(ctx), self.host.now());
        self.charged.add(&[&user], usage.total_tokens as f64);
        let mut accounts = self.accounts();
        if accounts.len() >= MANY {
            accounts.retain(|_, account| now < account.since + self.period);
        }
        let account = accounts.entry(user).or_insert(Account { spent: 0, since: now });
        if now >= account.since + self.period {
            *account = Account { spent: 0, since: now };
        }
        account.spent += usage.total_tokens;
    }
}

impl Budget {
    // The lock is held briefly and never across an `.await`.
    fn accounts(&self) -> MutexGuard<'_, HashMap<String, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the name of the account that a request is charged to: the user, or the key if it has no user.
fn user(ctx: &Context<'_>) -> String {
    ctx.user().or(ctx.key_id()).unwrap_or("anonymous").to_owned()
}

export_plugin!(Budget, name: "budget", priority: 5);
