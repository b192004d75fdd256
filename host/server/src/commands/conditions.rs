//! The flags that say on what a change depends: the stat of its znode, and a grant that must still hold. What is changed is the
//! commands'.

use quorate_client::{Client, Condition, Error, Fence};
use quorate_core::request::{Answer, Operation};

use crate::fence;

/// Flags of `set`, `create` and `rm`.
#[derive(Debug, Clone, clap::Args)]
pub struct Conditions {
    /// Only if it has this version
    #[arg(long, value_name = "N")]
    pub version: Option<u64>,
    /// Only if this field of its stat is N: version, czxid, mzxid, pzxid, cversion, aversion
    #[arg(long = "if", value_name = "FIELD=N", value_parser = field)]
    pub fields: Vec<(String, u64)>,
    /// Only while a lock or a leadership holds: what `quorate lock` gives its command as QUORATE_GRANT
    #[arg(long, value_name = "RECIPE:ZNODE=TOKEN", value_parser = fence::parse)]
    pub fence: Option<Fence>,
}

impl Conditions {
    /// Whether nothing is asked of the znode's stat.
    pub fn is_any(&self) -> bool {
        self.condition().is_any()
    }

    /// What is asked of the znode's stat.
    pub fn condition(&self) -> Condition {
        let mut condition = Condition::from(self.version);
        for (name, value) in &self.fields {
            if let Some(field) = condition.field(name) {
                *field = Some(*value);
            }
        }
        condition
    }

    /// Carries an operation out, behind the fence if there is one; the transaction and its answer.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn execute(
        &self,
        client: &Client,
        operation: Operation,
    ) -> Result<(u64, Answer), Error> {
        let multi = client.multi();
        let multi = self.fence.iter().fold(multi, |multi, fence| multi.fence(fence.clone()));
        let (zxid, answers) = match multi.operation(operation).await {
            // Of one operation, whatever its number is behind the fence.
            Err(Error::Refused(failure)) => {
                return Err(Error::Refused(quorate_core::request::Failure {
                    operation: None,
                    ..failure
                }));
            }
            other => other?,
        };
        let last = answers.into_iter().next_back();
        let answer = last.ok_or_else(|| Error::BadAnswer("a multi without answers".to_owned()))?;
        Ok((zxid.0, answer))
    }
}

/// `FIELD=N`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn field(text: &str) -> Result<(String, u64), String> {
    let known = || Condition::FIELDS.join(", ");
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("expected FIELD=N, not \"{text}\""))?;
    if !Condition::FIELDS.contains(&name) {
        return Err(format!("\"{name}\" is none of {}", known()));
    }
    let value = value.parse().map_err(|_| format!("\"{value}\" is no {name}"))?;
    Ok((name.to_owned(), value))
}
