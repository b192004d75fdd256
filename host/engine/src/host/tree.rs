//! `tree`: operations on the transaction, with paths as the recipe sees them and errors as WIT has them.

use bytes::Bytes;
use quorate_core::deployment::Manifest;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::path::Path;
use quorate_core::query::{self, Page};
use quorate_core::read::Direction;
use quorate_core::request::{LifetimeKind, Sequence};
use quorate_core::txn::{self, Txn};
use quorate_core::znode;
use wasmtime::component::Resource;

use crate::bindings::quorate::recipe::tree::{CreateOptions, Host, Lifetime, Node, Page as Wanted};
use crate::bindings::quorate::recipe::types::{Error, ErrorCode as Code, Stat};
use crate::blobs::Blob;
use crate::state::RunState;
use crate::stop::Stop;
use crate::view;

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl RunState {
    /// An operation on the path that the recipe calls `text`.
    fn read<T>(
        &mut self,
        text: &str,
        act: impl FnOnce(&mut Txn, &Path) -> Result<T, Refusal>,
    ) -> Answer<T> {
        self.enter()?;
        let (txn, manifest) = self.txn()?;
        let found = manifest.resolve(text).and_then(|(path, _)| act(txn, &path));
        answer(found, manifest)
    }

    /// As `read`, where the manifest must grant writing.
    fn change<T>(
        &mut self,
        text: &str,
        act: impl FnOnce(&mut Txn, &Path) -> Result<T, Refusal>,
    ) -> Answer<T> {
        self.enter()?;
        let (txn, manifest) = self.txn()?;
        let target = txn.check_may_change().and_then(|()| manifest.resolve_writable(text));
        answer(target.and_then(|path| act(txn, &path)), manifest)
    }

    fn create_node(&mut self, text: &str, data: Bytes, options: CreateOptions) -> Answer<String> {
        self.enter()?;
        let (txn, manifest) = self.txn()?;
        let target = txn
            .check_may_change()
            .and_then(|()| view::new_node(manifest, text, options.sequential));
        let created = target.and_then(|target| txn.create(&target, data, options.into()));
        answer(created.and_then(|(path, _)| view::seen_as(manifest, text, &path)), manifest)
    }

    fn set_data(&mut self, text: &str, data: Bytes, version: Option<u64>) -> Answer<Stat> {
        self.change(text, |txn, path| txn.set(path.as_str(), data, version).map(Stat::from))
    }

    /// The payload behind a handle, without a copy.
    fn payload(&self, blob: &Resource<Blob>) -> Result<Bytes, Stop> {
        self.blobs.payload(blob).cloned()
    }
}

impl Host for RunState {
    fn get(&mut self, path: String) -> Answer<Node> {
        self.read(&path, |txn, path| {
            let (data, stat) = query::get(txn, path)?;
            Ok(Node { data: data.to_vec(), stat: stat.into() })
        })
    }

    fn get_blob(&mut self, path: String) -> Answer<Resource<Blob>> {
        let found = self.read(&path, |txn, path| query::get(txn, path))?;
        match found {
            Ok((data, _)) => Ok(Ok(self.blobs.insert(data)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    fn stat(&mut self, path: String) -> Answer<Option<Stat>> {
        self.read(&path, |txn, path| Ok(query::node(txn, path).map(|node| node.stat().into())))
    }

    fn create(&mut self, path: String, data: Vec<u8>, options: CreateOptions) -> Answer<String> {
        self.create_node(&path, data.into(), options)
    }

    fn create_blob(
        &mut self,
        path: String,
        data: Resource<Blob>,
        options: CreateOptions,
    ) -> Answer<String> {
        let data = self.payload(&data)?;
        self.create_node(&path, data, options)
    }

    fn set(&mut self, path: String, data: Vec<u8>, version: Option<u64>) -> Answer<Stat> {
        self.set_data(&path, data.into(), version)
    }

    fn set_blob(
        &mut self,
        path: String,
        data: Resource<Blob>,
        version: Option<u64>,
    ) -> Answer<Stat> {
        let data = self.payload(&data)?;
        self.set_data(&path, data, version)
    }

    fn delete(&mut self, path: String, version: Option<u64>) -> Answer<()> {
        let is_root = view::is_root(&self.manifest, &path);
        self.change(&path, |txn, path| {
            view::refuse_root(is_root)?;
            txn.delete(path.as_str(), version)
        })
    }

    fn delete_tree(&mut self, path: String) -> Answer<u64> {
        let is_root = view::is_root(&self.manifest, &path);
        self.change(&path, |txn, path| {
            view::refuse_root(is_root)?;
            txn.delete_tree(path.as_str(), None)
        })
    }

    fn check(&mut self, path: String, version: Option<u64>) -> Answer<Stat> {
        self.read(&path, |txn, path| txn.check(path.as_str(), version).map(Stat::from))
    }

    fn release(&mut self, path: String) -> Answer<()> {
        self.change(&path, |txn, path| txn.release(path.as_str()))
    }

    fn children(&mut self, path: String, page: Wanted) -> Answer<Vec<String>> {
        let direction = if page.reverse { Direction::Backward } else { Direction::Forward };
        let page = Page { after: page.after, limit: page.limit, direction };
        self.read(&path, |txn, path| Ok(query::children(txn, path, &page)?.children))
    }

    fn first_child(&mut self, path: String) -> Answer<Option<String>> {
        self.read(&path, |txn, path| query::first_child(txn, path))
    }

    fn child_before(&mut self, path: String) -> Answer<Option<String>> {
        let is_root = view::is_root(&self.manifest, &path);
        self.read(&path, |txn, path| {
            // The recipe's root has siblings, but they are not the recipe's to see.
            if is_root {
                return Err(Refusal::new(ErrorCode::BadArguments, "the root has no siblings"));
            }
            query::child_before(txn, path)
        })
    }

    fn children_count(&mut self, path: String) -> Answer<u64> {
        self.read(&path, |txn, path| Ok(query::stat(txn, path)?.children_count))
    }
}

/// A refusal that WIT has a code for is the guest's to handle; any other ends the call.
fn answer<T>(result: Result<T, Refusal>, manifest: &Manifest) -> Answer<T> {
    let refusal = match result {
        Ok(value) => return Ok(Ok(value)),
        Err(refusal) => refusal,
    };
    let code = match refusal.code {
        ErrorCode::BadPath => Code::BadPath,
        ErrorCode::NoNode => Code::NoNode,
        ErrorCode::NodeExists => Code::NodeExists,
        ErrorCode::NotEmpty => Code::NotEmpty,
        ErrorCode::BadVersion => Code::BadVersion,
        ErrorCode::NoChildrenForEphemerals => Code::NoChildrenForEphemerals,
        ErrorCode::NoAccess => Code::NoAccess,
        ErrorCode::LimitPassed => Code::Limit,
        ErrorCode::BadArguments => Code::BadArguments,
        _ => return Err(Stop::Refused(refusal).into()),
    };
    Ok(Err(Error { code, message: view::message(manifest, refusal.message) }))
}

impl From<CreateOptions> for txn::CreateOptions {
    fn from(options: CreateOptions) -> Self {
        let lifetime = match options.lifetime {
            Lifetime::Persistent => LifetimeKind::Persistent,
            Lifetime::Ephemeral => LifetimeKind::Ephemeral,
            Lifetime::CallOwned => LifetimeKind::CallOwned,
            Lifetime::Container => LifetimeKind::Container,
            Lifetime::Ttl(ms) => LifetimeKind::Ttl(ms),
        };
        let sequence = if options.sequential { Sequence::Native } else { Sequence::None };
        Self { lifetime, sequence, parents: options.parents }
    }
}

impl From<znode::Stat> for Stat {
    fn from(stat: znode::Stat) -> Self {
        Self {
            czxid: stat.czxid.0,
            mzxid: stat.mzxid.0,
            pzxid: stat.pzxid.0,
            created: stat.ctime.0,
            modified: stat.mtime.0,
            version: stat.version,
            children_version: stat.cversion,
            owner: stat.owner().map(|owner| owner.0),
            data_bytes: stat.data_bytes,
            children_count: stat.children_count,
        }
    }
}
