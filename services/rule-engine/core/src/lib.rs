//! balefire-rule-engine-core
