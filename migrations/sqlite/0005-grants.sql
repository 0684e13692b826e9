-- Grants are read by whose they are, and go with that or with what they are on: of neither a search through all of them.

CREATE INDEX grants_api_token ON grants (api_token_id);
CREATE INDEX grants_user ON grants (user_id);
CREATE INDEX grants_identity ON grants (identity_id);
CREATE INDEX grants_delivery_service ON grants (delivery_service_id);
