//! From a request that uploads, activates or removes a recipe to its changes. What a component does is not known here: the
//! engine is asked through the port `Recipes`.

use sha2::{Digest as _, Sha256};

use crate::access::check::{Target, Wish, require};
use crate::access::{Asker, Identity, Object, Permissions};
use crate::change::Change;
use crate::deployment::{ComponentDigest, Manifest, Version, check_name};
use crate::draft::{ReadRecords, View};
use crate::error::{ErrorCode, Refusal};
use crate::ids::{Millis, SessionId};
use crate::key;
use crate::limits;
use crate::read::{Direction, Read};
use crate::recipe::Recipes;
use crate::request::{Answer, Body, Chunk, Deploy, Request};
use crate::room::Room;
use crate::txn::Txn;

/// The components that an activation replaces and brings, if the write is one and nothing refuses it so far.
pub fn replaced_by(
    view: &View,
    request: &Request,
    now: Millis,
    recipes: &mut dyn Recipes,
) -> Option<(ComponentDigest, ComponentDigest)> {
    let (Body::Deploy(Deploy { recipe, .. }) | Body::Rollback { recipe, .. }) = &request.body
    else {
        return None;
    };
    let target = Target::Recipe(recipe, None);
    let wish = Wish { permission: Permissions::DEPLOY, target };
    require(view, &Asker::of_request(request, now), wish).ok()?;
    match &request.body {
        Body::Deploy(deploy) => {
            let before = check_deploy(view, deploy, recipes).ok()??;
            check_room(view.room()).ok()?;
            Some((before.component, deploy.component))
        }
        Body::Rollback { recipe, version } => {
            let before = view.active_version(recipe)?;
            let after = view.version(recipe, *version)?;
            recipes.check(&after.component, None).ok()?;
            Some((before.component, after.component))
        }
        _ => None,
    }
}

/// A deployment is growth, whatever goes with it: that is known before the calls are ended that it would end, and not only
/// when it is over.
fn check_room(room: Room) -> Result<(), Refusal> {
    room.refusal(1).map_or(Ok(()), Err)
}

/// Notes that a session uploads a component, one that is there already too: it must not go before it is deployed.
fn begin_upload(
    txn: &mut Txn,
    session: SessionId,
    component: ComponentDigest,
) -> Result<(), Refusal> {
    if txn.get(&key::upload(session, &component)).is_some() {
        return Ok(());
    }
    let count = txn.uploads(session).len() as u64;
    if count >= limits::UPLOADS_PER_SESSION_MAX {
        return Err(Refusal::limit(
            "components uploaded by a session and not deployed",
            count + 1,
            limits::UPLOADS_PER_SESSION_MAX,
        ));
    }
    txn.record(Change::UploadBegan { session, component })
}

/// Stores a chunk; the last one seals the component, if the whole hashes to its digest.
pub(super) fn store_chunk(
    txn: &mut Txn,
    session: SessionId,
    chunk: &Chunk,
) -> Result<Answer, Refusal> {
    let bad = |message: String| Err(Refusal::new(ErrorCode::BadArguments, message));
    if let Some(asker) = txn.asker() {
        require_upload(txn, asker)?;
    }
    begin_upload(txn, session, chunk.component)?;
    if txn.component(&chunk.component).is_some() {
        return Ok(Answer::Done);
    }
    if chunk.total_bytes == 0 {
        return bad("a component of no bytes".to_owned());
    }
    if chunk.total_bytes > limits::COMPONENT_BYTES_MAX {
        return Err(Refusal::limit(
            "bytes of a component",
            chunk.total_bytes,
            limits::COMPONENT_BYTES_MAX,
        ));
    }
    let chunks = chunk.total_bytes.div_ceil(limits::CHUNK_BYTES_MAX as u64);
    let index = u64::from(chunk.index);
    if index >= chunks {
        return bad(format!("chunk {index} of a component of {chunks} chunks"));
    }
    let expected = (chunk.total_bytes - index * limits::CHUNK_BYTES_MAX as u64)
        .min(limits::CHUNK_BYTES_MAX as u64);
    if chunk.bytes.len() as u64 != expected {
        return bad(format!("chunk {index} has {} bytes, not {expected}", chunk.bytes.len()));
    }
    let stored = Change::ChunkStored {
        component: chunk.component,
        index: chunk.index,
        bytes: chunk.bytes.clone(),
    };
    txn.record(stored)?;
    if index + 1 < chunks {
        return Ok(Answer::Done);
    }
    let mut hasher = Sha256::new();
    for index in 0..=chunk.index {
        let Some(bytes) = txn.get(&key::chunk(&chunk.component, index)) else {
            return bad(format!("chunk {index} is missing: upload the component again, in order"));
        };
        hasher.update(&bytes);
    }
    if <[u8; 32]>::from(hasher.finalize()) != chunk.component {
        return bad("the chunks do not hash to the component's digest: upload it again".to_owned());
    }
    let chunks = chunk.index + 1;
    txn.record(Change::ComponentStored {
        component: chunk.component,
        bytes: chunk.total_bytes,
        chunks,
    })?;
    Ok(Answer::Done)
}

/// Refuses whoever may not deploy this recipe, roll it back or remove it.
pub(super) fn require_deploy(txn: &Txn, recipe: &str) -> Result<(), Refusal> {
    txn.require(Permissions::DEPLOY, Target::Recipe(recipe, None))
}

/// Refuses whoever may deploy no recipe at all: what a component is for is known only when it is deployed.
fn require_upload(txn: &Txn, asker: &Asker) -> Result<(), Refusal> {
    let known = asker.known_as(txn);
    let (from, to) = key::rules_all();
    let may_deploy = |object: &Object| {
        matches!(object, Object::Recipe(_))
            && txn
                .rules(object)
                .is_some_and(|rules| rules.allows(&known, asker.address, Permissions::DEPLOY, None))
    };
    let mut objects =
        txn.range(&from, &to, Direction::Forward).filter_map(|(key, _)| key::rules_object(&key));
    if txn.access_summary().objects_count > 0 && objects.any(|object| may_deploy(&object)) {
        return Ok(());
    }
    let target = Target::Recipe("*", None);
    require(txn, asker, Wish { permission: Permissions::DEPLOY, target })
}

pub(super) fn activate_new(
    mut txn: Txn,
    request: &Request,
    deploy: &Deploy,
    recipes: &mut dyn Recipes,
) -> (Txn, Result<Answer, Refusal>) {
    let checked = check_deploy(&txn, deploy, recipes)
        .and_then(|before| check_room(txn.room()).map(|()| before));
    let before = match checked {
        Ok(before) => before,
        Err(refusal) => return (txn, Err(refusal)),
    };
    let number = txn.recipe(&deploy.recipe).map_or(0, |recipe| recipe.last_version) + 1;
    // Shown to everybody who asks for the history: without what a password could be tried by.
    let principal = txn.session(request.session).map_or_else(String::new, |session| {
        let identity = Identity::parse(&session.principal);
        identity.map_or(session.principal, |identity| identity.masked().to_string())
    });
    let version = Version {
        number,
        component: deploy.component,
        manifest: deploy.manifest.clone(),
        principal,
        deployed: txn.time(),
    };
    let made =
        Change::VersionMade { recipe: deploy.recipe.clone(), version: Box::new(version.clone()) };
    let before = before.map(|version| version.number);
    let room = txn
        .record(made)
        .and_then(|()| end_upload(&mut txn, request.session, deploy.component))
        .and_then(|()| drop_old_versions(&mut txn, &deploy.recipe, before, number));
    if let Err(refusal) = room {
        return (txn, Err(refusal));
    }
    activate(txn, &deploy.recipe, &version, before, recipes)
}

/// The session has deployed what it uploaded: the version keeps it from now on.
fn end_upload(
    txn: &mut Txn,
    session: SessionId,
    component: ComponentDigest,
) -> Result<(), Refusal> {
    if txn.get(&key::upload(session, &component)).is_none() {
        return Ok(());
    }
    txn.record(Change::UploadEnded { session, component })
}

/// Forgets the oldest versions above `RECIPE_VERSIONS_MAX`, but for the one that was active until now: a deployment can
/// always be rolled back.
fn drop_old_versions(
    txn: &mut Txn,
    name: &str,
    before: Option<u64>,
    made: u64,
) -> Result<(), Refusal> {
    let (from, to) = key::versions(name);
    let numbers: Vec<u64> = txn
        .range(&from, &to, Direction::Forward)
        .filter_map(|(key, _)| key::version_number(&key))
        .collect();
    let excess = (numbers.len() as u64).saturating_sub(limits::RECIPE_VERSIONS_MAX);
    let droppable = numbers.into_iter().filter(|&number| Some(number) != before && number != made);
    for (_, version) in (0..excess).zip(droppable) {
        txn.record(Change::VersionDropped { recipe: name.to_owned(), version })?;
    }
    Ok(())
}

/// What must hold before a component becomes a version; gives the active one.
fn check_deploy<R: Read>(
    read: &R,
    deploy: &Deploy,
    recipes: &mut dyn Recipes,
) -> Result<Option<Version>, Refusal> {
    check_name(&deploy.recipe)?;
    deploy.manifest.limits.check()?;
    let manifest = deploy.manifest.encode();
    if manifest.len() > limits::MANIFEST_BYTES_MAX {
        return Err(Refusal::limit(
            "bytes of a manifest",
            manifest.len() as u64,
            limits::MANIFEST_BYTES_MAX as u64,
        ));
    }
    if Manifest::decode(manifest).as_ref() != Ok(&deploy.manifest) {
        let message = "the manifest has more entries in one of its tables than can be read again";
        return Err(Refusal::new(ErrorCode::BadArguments, message));
    }
    if read.component(&deploy.component).is_none() {
        return Err(Refusal::new(
            ErrorCode::NotAdmitted,
            "the component has not been uploaded whole",
        ));
    }
    for feature in deploy.manifest.features() {
        feature.check(read.level())?;
    }
    let before = read.active_version(&deploy.recipe);
    let breaking =
        recipes.check(&deploy.component, before.as_ref().map(|version| &version.component))?;
    if !breaking.is_empty() && !deploy.breaking_allowed {
        let message = format!("callers of the active version would break: {}", breaking.join("; "));
        return Err(Refusal::new(ErrorCode::BreakingChange, message));
    }
    for function in &deploy.manifest.read_only {
        recipes.check_function(&deploy.component, function).map_err(|refusal| {
            let message = format!("read-only in the manifest: {}", refusal.message);
            Refusal::new(refusal.code, message)
        })?;
    }
    Ok(before)
}

pub(super) fn activate_old(
    txn: Txn,
    name: &str,
    number: u64,
    recipes: &mut dyn Recipes,
) -> (Txn, Result<Answer, Refusal>) {
    let before = txn.active_version(name).map(|version| version.number);
    let Some(version) = txn.version(name, number) else {
        let refusal =
            Refusal::new(ErrorCode::NoRecipe, format!("recipe {name} has no version {number}"));
        return (txn, Err(refusal));
    };
    if let Err(refusal) = recipes.check(&version.component, None) {
        return (txn, Err(refusal));
    }
    activate(txn, name, &version, before, recipes)
}

/// Points the name at the version, makes its root, and lets it migrate; all in this transaction.
fn activate(
    mut txn: Txn,
    name: &str,
    version: &Version,
    before: Option<u64>,
    recipes: &mut dyn Recipes,
) -> (Txn, Result<Answer, Refusal>) {
    let activated = Change::RecipeActivated { recipe: name.to_owned(), version: version.number };
    let prepared = txn.record(activated).and_then(|()| txn.create_missing(&version.manifest.root));
    if let Err(refusal) = prepared {
        return (txn, Err(refusal));
    }
    txn.begin_run(version.manifest.limits.changes, version.manifest.limits.changes_bytes);
    let (mut txn, migrated) = recipes.migrate(version, before, txn);
    txn.end_run();
    (txn, migrated.map(|()| Answer::Activated { version: version.number }))
}

pub(super) fn remove_recipe(txn: &mut Txn, name: &str) -> Result<Answer, Refusal> {
    if txn.recipe(name).is_none_or(|recipe| recipe.active.is_none()) {
        return Err(Refusal::new(
            ErrorCode::NoRecipe,
            format!("no recipe is deployed as \"{name}\""),
        ));
    }
    txn.record(Change::RecipeRemoved { recipe: name.to_owned() })?;
    Ok(Answer::Done)
}
