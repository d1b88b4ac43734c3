//! balefire-rule-engine
