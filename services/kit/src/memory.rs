//! Keeping an idle process small.

/// Blocks of this size and more are mapped on their own, and given back as soon as they are freed.
#[cfg(target_env = "gnu")]
const OWN_MAPPING_BYTES: libc::c_int = 1024 * 1024;

/// Tells the allocator to give big blocks back. By default glibc keeps them in its arenas once it
/// has seen a few: three password checks (19 MiB each) would stay in memory for good.
pub fn give_big_blocks_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two integers and no pointers; setting a parameter explicitly switches
    // its automatic adjustment off and has no other effect.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING_BYTES);
    }
}
