"""The entry for a WSGI server: `wsgi:app`."""

from config.settings import load_settings
from leads.app import create_app

app = create_app(load_settings())
