//! From one operation of a client to its answer, on a transaction. Calls, and what operations together come to, are not known
//! here.

use crate::error::{ErrorCode, Refusal};
use crate::path::Path;
use crate::query;
use crate::request::{Answer, LifetimeKind, Operation, Sequence};
use crate::txn::{CreateOptions, Met, Txn};

/// Carries it out.
///
/// # Errors
/// Those of the operation (`Txn`); `internal` for a call.
pub(super) fn tree_operation(txn: &mut Txn, operation: &Operation) -> Result<Answer, Refusal> {
    match operation {
        Operation::Create { path, data, lifetime, sequence, parents, acl } => {
            let options = options(*lifetime, *sequence, *parents)?;
            let (path, stat) = txn.create_with_acl(path, data.clone(), options, acl.as_ref())?;
            Ok(Answer::Created { path: path.as_str().to_owned(), stat })
        }
        Operation::Set { path, data, condition } => {
            txn.set(path, data.clone(), *condition).map(Answer::Stat)
        }
        Operation::Delete { path, condition } => {
            txn.delete(path, *condition).map(|()| Answer::Done)
        }
        Operation::Check { path, condition } => txn.check(path, *condition).map(Answer::Stat),
        Operation::CheckAbsent { path } => txn.check_absent(path).map(|()| Answer::Done),
        Operation::CreateOrGet { path, data, lifetime, parents, acl } => {
            let options = options(*lifetime, Sequence::None, *parents)?;
            let met = txn.create_or_get(path, data.clone(), options, acl.as_ref())?;
            Ok(met_as(met, |(data, stat)| Answer::Node { data, stat }))
        }
        Operation::SetOrCreate { path, data, lifetime, parents, acl } => {
            let options = options(*lifetime, Sequence::None, *parents)?;
            let met = txn.set_or_create(path, data.clone(), options, acl.as_ref())?;
            Ok(met_as(met, Answer::Stat))
        }
        Operation::DeleteTree { path, condition } => {
            Ok(Answer::Deleted { count: txn.delete_tree(path, *condition)? })
        }
        Operation::Fence(fence) => txn.fence(fence).map(|()| Answer::Done),
        Operation::Get { path } => {
            let (data, stat) = query::get(txn, &txn.readable(path)?)?;
            Ok(Answer::Node { data, stat })
        }
        Operation::Stat { path } => query::stat(txn, &txn.readable(path)?).map(Answer::Stat),
        Operation::Exists { path } => {
            let node = query::node(txn, &Path::parse(path)?);
            if node.is_some() {
                txn.readable(path)?;
            }
            Ok(Answer::Exists(node.map(|node| node.stat())))
        }
        Operation::Children { path, page, with_data: false } => {
            query::children(txn, &txn.readable(path)?, page).map(Answer::Names)
        }
        Operation::Children { path, page, with_data: true } => {
            let parent = txn.readable(path)?;
            let listing = query::children_with_data(txn, &parent, page)?;
            for child in &listing.children {
                txn.readable(parent.child(&child.name)?.as_str())?;
            }
            Ok(Answer::Children(listing))
        }
        Operation::SetAcl { path, acl, version, is_forced } => {
            txn.set_acl(path, acl.as_ref(), *version, *is_forced).map(Answer::Stat)
        }
        Operation::Access { change, is_forced } => {
            txn.change_access(change, *is_forced).map(|()| Answer::Done)
        }
        Operation::Call(_) => Err(Refusal::new(ErrorCode::Internal, "a call is no tree operation")),
    }
}

fn options(
    lifetime: LifetimeKind,
    sequence: Sequence,
    parents: bool,
) -> Result<CreateOptions, Refusal> {
    if lifetime == LifetimeKind::CallOwned {
        return Err(Refusal::new(ErrorCode::BadArguments, "only a recipe's call can own a znode"));
    }
    Ok(CreateOptions { lifetime, sequence, parents })
}

fn met_as<T>(met: Met<T>, there: impl FnOnce(T) -> Answer) -> Answer {
    match met {
        Met::Created(path, stat) => Answer::Created { path: path.as_str().to_owned(), stat },
        Met::There(found) => there(found),
    }
}
