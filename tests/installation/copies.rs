//! Clones that were copied with their `.devart`: each command is about its own servers.

use anyhow::Result;

use super::{Clone, text};

#[tokio::test]
async fn a_copied_clone_leaves_the_servers_of_the_original_alone() -> Result<()> {
    // Closed, so that root's servers keep their state elsewhere, and both clones lead there.
    let clone = Clone::make(0o700)?;
    clone.up("")?;
    let before = clone.part("postgres")?;
    for how in ["cp -a", "cp -al"] {
        let copy = clone.around.join("a copy");
        clone.must(&format!("rm -rf '../a copy' && {how} . '../a copy'"))?;
        let down = clone.shell_in(&copy, "devart down")?;
        let up = clone.shell_in(&copy, "devart up")?;
        let said = format!("{}{}", text(&down), text(&up));
        for command in [
            "devart agent register from-the-copy",
            "devart migrate",
            "devart token --role viewer",
        ] {
            let output = clone.shell_in(&copy, command)?;
            assert!(!output.status.success(), "{command}: {}", text(&output));
            assert!(
                text(&output).contains("a copy"),
                "{command}: {}",
                text(&output)
            );
        }
        clone.must("devart status")?;
        assert_eq!(clone.part("postgres")?, before, "{how}: {said}");
        assert!(!up.status.success(), "{how}: {said}");
        assert!(said.contains("a clone"), "whose they are: {how}: {said}");
        assert!(!said.contains("panicked"), "{how}: {said}");
    }
    clone.must("devart down")?;
    Ok(())
}
