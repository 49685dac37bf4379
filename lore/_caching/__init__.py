"""The engines of `lore.cached`: code, values, inputs, payloads and stores."""
