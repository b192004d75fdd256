//! The language of the scripts: one command a line, what came of it below, each line of that with a mark. A block in
//! braces belongs to the line that opens it.
//!
//! ```text
//! open alice                      a session; numbered from 1 in the order of opening
//! 1 create /a "x" ephemeral       a write of session 1
//! 1 multi {                       one operation a line, without the session
//!   create /b
//!   call lock acquire /l
//! }
//! rerun 1:3 changed               runs write 3 of session 1 again
//! repeat 9 1 set /a "{i}"         shows the last one only
//! room short                      from now on the tree may not grow; `room enough` ends that
//! 1 identify token:ci until=5000   a credential was shown; `1 identify badly`: one that is not accepted
//! read-call 1 lock echo hello     a call as a read of the applied tree, for session 1
//! open bob as=token:b             a session that is known as somebody
//! 1 create /c acl=token:a:cdrwa   with an access list; `set-acl`, `grant`, `revoke`, `stance` change who may do what
//! may-read 1 /c                   whether session 1 may read it; `acl`, `rules`, `may` ask more
//! level 2                         all members know this feature level
//! ls / after=b limit=2 reverse    a read, of the applied tree
//! ```
//!
//! It knows how commands are read and their output recorded; what they do is `world`'s.

mod access;
mod commands;
mod show;
mod words;
mod world;

use world::World;

/// The script with the output that its commands have now.
pub fn play(text: &str) -> String {
    let mut world = World::new();
    let mut output = String::new();
    let mut lines = text.lines().filter(|line| !line.starts_with("> ")).enumerate();
    while let Some((at, line)) = lines.next() {
        output.push_str(line);
        output.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut block = Vec::new();
        if line.ends_with('{') {
            for (_, inner) in lines.by_ref() {
                output.push_str(inner);
                output.push('\n');
                if inner == "}" {
                    break;
                }
                block.push(inner.trim());
            }
        }
        let said = commands::command(&mut world, line, &block)
            .unwrap_or_else(|why| panic!("command {at}: {line}\n{why}"));
        for line in said {
            output.push_str("> ");
            output.push_str(&line);
            output.push('\n');
        }
    }
    world.pair.replay();
    output
}
