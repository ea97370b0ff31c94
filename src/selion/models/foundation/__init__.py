"""Foundation models, frozen, under PRUE's protocol."""
