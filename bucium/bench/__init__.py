"""The measured promise: each module here measures one part, beside what others would use for it."""
