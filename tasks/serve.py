"""task=serve: answers over HTTP as OpenAI's API does, from any run; a page to look at runs and to talk to them."""

import asyncio
import logging
import secrets
import socket
from collections.abc import Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, TypedDict

from omegaconf import DictConfig

import stopping
from bounds import NonNegativeInt, PositiveInt, Text
from errors import RequestError
from launcher.jobs.run_folder import RunFolder
from models.continuous import Continuous
from tasks import parts
from tasks.trainer import set_number_formats
from tokenization.base import Tokenizer
from tokenization.chat import TURN_SPECIALS, ChatTemplate, chat_template

GRACE_S = 3  # for answers on their way, once asked to stop
