//! What tasks cost; pure.
