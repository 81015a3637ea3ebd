"""Programs that use Alacena as a product would."""
