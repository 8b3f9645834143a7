//! What only an embedded sandbox has to show: that nothing of this computer is in it but what was asked for.
