//! balefire-correlator
