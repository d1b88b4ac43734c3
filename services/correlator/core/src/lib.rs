//! balefire-correlator-core
