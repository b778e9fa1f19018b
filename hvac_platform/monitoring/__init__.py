"""The science applied to the store: learn a device's profile, judge its windows, look up its past."""
