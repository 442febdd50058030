"""The website: pages rendered on the server, readable without JavaScript.

They stand on the same functions as the API, so a page can do nothing that a token may not.
"""

API_HOME = "{% include 'api_home.html' %}"
"""What the OpenAPI library shows at ``/api/``, in place of its own page with inline scripts."""
API_BROWSER = "{% include 'api_browser.html' %}"
"""What its Swagger plugin shows at ``/api/swagger``."""
