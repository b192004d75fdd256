//! What the tree must show after a workload: each acknowledged operation once, no more and no less, whatever happened to
//! connections and servers meanwhile. It knows the places that workloads write to, and not how they write.

use anyhow::{bail, ensure};
use quorate_client::{Client, Recipe};
use quorate_wire::value::Value;

/// A count in the tree that grows by one with each operation of a workload.
pub enum Count {
    /// Children of these znodes together: creations.
    Children(Vec<String>),
    /// Versions of these znodes together: sets.
    Versions(Vec<String>),
    /// A counter of a recipe.
    Counter(Recipe, &'static str),
    /// Items of a queue of a recipe, which must be as many as before.
    Queue(Recipe, &'static str),
}

/// A count as it was before a workload.
pub struct Check {
    count: Count,
    before: i128,
}

impl Check {
    /// Looks at the count.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn begin(client: &Client, count: Count) -> anyhow::Result<Self> {
        let before = count.look(client).await?;
        Ok(Self { count, before })
    }

    /// Looks again, after so many acknowledged operations. All that were sent must have been answered.
    ///
    /// # Errors
    /// If it is not what was acknowledged: a bug in the service.
    pub async fn end(self, client: &Client, operations: u64) -> anyhow::Result<()> {
        let grown = self.count.look(client).await? - self.before;
        let wanted =
            if matches!(self.count, Count::Queue(..)) { 0 } else { i128::from(operations) };
        ensure!(
            grown == wanted,
            "{operations} operations were acknowledged and the tree shows {grown}, not {wanted}: the service has lost or \
             repeated writes"
        );
        Ok(())
    }
}

impl Count {
    async fn look(&self, client: &Client) -> anyhow::Result<i128> {
        let mut sum = 0;
        match self {
            Self::Children(paths) => {
                for path in paths {
                    sum += i128::from(client.stat(path).await?.children_count);
                }
            }
            Self::Versions(paths) => {
                for path in paths {
                    sum += i128::from(client.stat(path).await?.version);
                }
            }
            Self::Counter(recipe, path) => sum = number(recipe, "get", path).await?,
            Self::Queue(recipe, path) => sum = number(recipe, "length", path).await?,
        }
        Ok(sum)
    }
}

async fn number(recipe: &Recipe, function: &str, path: &str) -> anyhow::Result<i128> {
    match recipe.call(function, vec![Value::from(path)]).await?.value {
        Some(Value::Result(Ok(Some(value)))) => match *value {
            Value::S64(number) => Ok(number.into()),
            Value::U64(number) => Ok(number.into()),
            other => bail!("{function} gave {other:?}, no number"),
        },
        other => bail!("{function} gave {other:?}"),
    }
}
