-- What a token's secret begins with after `fsa_`, so that one that was found somewhere is known again: eight of its 43 characters.
-- Of those that were made before, it is not known.
ALTER TABLE api_tokens
    ADD COLUMN prefix text,
    ADD CONSTRAINT api_tokens_prefix_check CHECK (length(prefix) = 8);
