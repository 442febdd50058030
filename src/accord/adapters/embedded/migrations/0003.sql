-- kept
SELECT 1;
